//! Twenty developers at one Service, each with their own laptop.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bridge_tests::{Done, Laptop, Local, World, pause};

const CROWD: usize = 20;
const FOR: Duration = Duration::from_secs(300);
/// Limit on a connect among so many. A second or two is usual.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs a cluster: make soak"]
fn twenty_developers_come_and_go_at_one_service() {
    let world = World::with("crowd", &["orders", "client"]);
    let before = world.objects();
    let crowd: Vec<Developer> = (0..CROWD).map(|number| Developer::new(&world, number)).collect();
    let others = world.others_by("others", &["new", "keepalive"]);

    // When all connect at once, each gets their own requests, through one stand-in.
    each(&crowd, Developer::connect);
    are_served(&world, &crowd);
    let stand_ins: Vec<_> = crowd.iter().map(|one| one.laptop.session()["standIn"].clone()).collect();
    assert!(stand_ins.windows(2).all(|pair| pair[0] == pair[1]), "expected one stand-in: {stand_ins:?}");

    // When half of them leave while nobody else does anything, the other half goes on.
    let (first, second) = crowd.split_at(CROWD / 2);
    each(first, Developer::disconnect);
    are_served(&world, second);

    // When those come back while the others leave, the connected ones are served.
    thread::scope(|scope| {
        let coming = scope.spawn(|| each(first, Developer::connect));
        each(second, Developer::disconnect);
        coming.join().expect("all of them connect");
    });
    are_served(&world, first);
    for one in second {
        let answerer = world.who_answers(&[&one.header]);
        assert!(answerer.starts_with("orders-"), "expected the origin for {}: {answerer}", one.header);
    }

    // When the daemons of some are killed, the rest go on, and those that connect again are served again.
    let (killed, rest) = first.split_at(first.len() / 2);
    for one in killed {
        assert!(one.laptop.kill_daemon(), "expected a daemon of {}", one.header);
    }
    are_served(&world, rest);
    each(killed, Developer::connect);
    are_served(&world, first);

    // When the last leave at once, the Service is as it was, and nobody has lost a request.
    each(first, Developer::disconnect);
    others.goes_on(20);
    others.has_lost_nothing();
    world.is_given_back(&before);
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn twenty_developers_come_and_go_at_random_for_five_minutes() {
    // The order of each developer's acts follows from the seed; how they meet does not.
    let seed = std::env::var("BRIDGE_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed =
        seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()));
    println!("BRIDGE_TEST_SEED={seed}");
    let world = World::new("random");
    let before = world.objects();
    let crowd: Vec<Developer> = (0..CROWD).map(|number| Developer::new(&world, number)).collect();
    let others = world.others();

    let until = Instant::now() + FOR;
    let acts: Vec<Acts> = thread::scope(|scope| {
        let going: Vec<_> =
            crowd.iter().map(|one| scope.spawn(|| one.comes_and_goes(&world, seed, until))).collect();
        going.into_iter().map(|one| one.join().expect("each is served as they should be")).collect()
    });
    let sum = |of: fn(&Acts) -> u32| acts.iter().map(of).sum::<u32>();
    println!(
        "{} connects, {} disconnects, {} killed daemons; the slowest connect took {:.1?}",
        sum(|acts| acts.connects),
        sum(|acts| acts.disconnects),
        sum(|acts| acts.kills),
        acts.iter().map(|acts| acts.slowest).max().unwrap_or_default()
    );

    others.goes_on(20);
    others.has_lost_nothing();
    world.is_given_back(&before);
}

/// The number of each act of a developer, and the time of the slowest connect.
#[derive(Debug, Default)]
struct Acts {
    connects: u32,
    disconnects: u32,
    kills: u32,
    slowest: Duration,
}

struct Developer {
    number: usize,
    laptop: Laptop,
    process: Local,
    header: String,
}

impl Developer {
    fn new(world: &World, number: usize) -> Self {
        let laptop = world.laptop(&format!("dev{number}"));
        let process = laptop.runs("orders");
        Self { number, laptop, process, header: format!("x-bridge=dev{number}") }
    }

    fn connect(&self) -> Done {
        self.laptop.bridge(&["connect", "orders", "--port", &self.process.for_port("http")])
    }

    fn disconnect(&self) -> Done {
        self.laptop.bridge(&["disconnect", "orders"])
    }

    /// Connects and disconnects, or loses the daemon, with pauses, and leaves nothing connected. Looks at each turn who
    /// answers.
    fn comes_and_goes(&self, world: &World, seed: u64, until: Instant) -> Acts {
        let mut acts = Acts::default();
        for turn in 0u32.. {
            let chance = chance(seed, self.number, turn);
            pause(Duration::from_millis(chance % 4000));
            let took = self.connect().succeeds().took;
            assert!(took < CONNECTED_WITHIN, "{}'s connect took {took:.1?}", self.header);
            acts.slowest = acts.slowest.max(took);
            acts.connects += 1;
            for _ in 0..5 {
                are_served(world, std::slice::from_ref(self));
            }
            pause(Duration::from_millis(chance / 4000 % 4000));
            let over = Instant::now() >= until;
            if !over && chance.is_multiple_of(5) {
                assert!(self.laptop.kill_daemon(), "expected a daemon of {}", self.header);
                acts.kills += 1;
                continue;
            }
            let _ = self.disconnect().succeeds();
            acts.disconnects += 1;
            let answerer = world.who_answers(&[&self.header]);
            assert!(answerer.starts_with("orders-"), "expected the origin for {}: {answerer}", self.header);
            if over {
                break;
            }
        }
        acts
    }
}

/// Runs this for all of them at once; all succeed.
fn each(crowd: &[Developer], does: impl Fn(&Developer) -> Done + Sync) {
    let slowest = thread::scope(|scope| {
        let under_way: Vec<_> = crowd.iter().map(|one| scope.spawn(|| does(one).succeeds().took)).collect();
        under_way.into_iter().map(|one| one.join().expect("it succeeds")).max()
    });
    println!("{} at once: the slowest took {:.1?}", crowd.len(), slowest.unwrap_or_default());
}

fn are_served(world: &World, crowd: &[Developer]) {
    for one in crowd {
        assert_eq!(world.who_answers(&[&one.header]), one.process.name, "the requests with {}", one.header);
    }
}

/// A number that depends on all of these.
fn chance(seed: u64, number: usize, turn: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, number, turn).hash(&mut hasher);
    hasher.finish()
}

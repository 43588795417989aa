use super::*;

fn agent(ready: bool, waits_for: Option<&str>) -> Agent {
    Agent { ready, trouble: "refused".into(), waits_for: waits_for.map(str::to_owned), ..Agent::default() }
}

fn live(agents: Vec<Agent>) -> Live {
    let named = agents.into_iter().enumerate().map(|(index, agent)| (format!("orders-{index}"), agent));
    Live {
        agents: named.collect(),
        agents_known: true,
        in_place: true,
        was_in_place: true,
        ..Live::default()
    }
}

#[tokio::test]
async fn whoever_keeps_a_tunnel_from_coming_up_is_named() {
    let mut live = live(vec![]);
    let why = |live: &Live| live.why_no_tunnel();
    assert_eq!(why(&live), "the API server has named no pod of theirs that is ready");
    let waits = Agent { ready: true, ..Agent::default() };
    let pod = "orders-0".to_owned();
    live.agents.insert(pod.clone(), waits.clone());
    assert_eq!(why(&live), "the API server has opened no connection to orders-0");
    let attended = Some(Attended { routed: 0, ..Attended::pretended() });
    live.agents.insert(pod.clone(), Agent { attended, ..waits });
    assert_eq!(why(&live), "orders-0 has not taken the routes");
    live.blind = Some("cannot watch pods".to_owned());
    assert_eq!(why(&live), "cannot watch pods");
    live.agents.insert(pod, agent(true, None));
    assert_eq!(why(&live), "orders-0: refused");
}

#[test]
fn requests_are_reported_at_the_origin_only_when_they_go_there() {
    const TO_ORIGIN: &str = "requests go to the origin";
    let unreached = live(vec![agent(true, None)]);
    let none = live(vec![]);
    let starting = live(vec![agent(false, Some("ContainerCreating"))]);
    let led_back = Live { in_place: false, led_back: true, ..starting.clone() };
    let ready_again = Live { in_place: false, led_back: true, ..unreached.clone() };
    let refused = Live { refused: Some("exceeded quota".into()), ..none.clone() };
    let elsewhere = Live { in_place: false, ..none.clone() };
    let unknown = Live { agents_known: false, ..none.clone() };
    for (what, live, expected, said, to_origin) in [
        ("a ready agent passes all on", unreached, v1::State::Reconnecting, "refused", true),
        ("there is no agent", none, v1::State::Reconnecting, "requests fail", false),
        ("none is ready", starting, v1::State::Reconnecting, "ContainerCreating", false),
        ("no pod is made", refused, v1::State::Reconnecting, "exceeded quota", false),
        ("nothing is known yet", unknown, v1::State::Reconnecting, "cannot reach an agent", false),
        ("the Service leads elsewhere", elsewhere, v1::State::Reconnecting, "cannot reach an agent", true),
        ("it was led back", led_back, v1::State::LedBack, "ContainerCreating", true),
        ("it was led back a moment ago", ready_again, v1::State::LedBack, "are ready again", true),
    ] {
        let (state, detail) = live.state("orders");
        assert_eq!(state, expected, "{what}: {detail}");
        assert!(detail.contains(said), "{what}: expected {said:?} in {detail:?}");
        assert_eq!(detail.contains(TO_ORIGIN), to_origin, "{what}: {detail}");
    }
}

fn routed(ready: bool) -> Agent {
    Agent { attended: Some(Attended::pretended()), ..agent(ready, None) }
}

#[tokio::test]
async fn an_agent_is_due_when_it_is_ready_or_another_has_the_routes() {
    let starting = || agent(false, None);
    for (what, agents, due) in [
        ("it is the first, and starts", vec![starting(), starting()], false),
        ("it is ready", vec![agent(true, None), starting()], true),
        ("another is ready, and has no routes yet", vec![starting(), agent(true, None)], false),
        ("another has the routes", vec![starting(), routed(true)], true),
    ] {
        assert_eq!(live(agents).is_due("orders-0"), due, "{what}");
    }
    assert!(!live(vec![]).is_due("orders-0"), "it is gone");
}

#[tokio::test]
async fn an_agent_that_is_not_ready_yet_may_have_the_routes() {
    let leaving = Agent { leaving: true, ..agent(true, None) };
    for (what, agents, everywhere) in [
        ("all have them", vec![routed(true), routed(true)], true),
        ("one is not ready yet", vec![routed(true), routed(false)], true),
        ("one is ready, and has none", vec![routed(true), agent(true, None)], false),
        ("the one without is terminating", vec![routed(true), leaving], true),
    ] {
        assert_eq!(live(agents).is_routed_everywhere(), everywhere, "{what}");
    }
}

#[tokio::test]
async fn without_requests_nothing_is_said_of_them() {
    let removed = Live { reset: Some("the agent was removed".into()), ..live(vec![]) };
    let text = "someone has scaled Deployment worker to 3".to_owned();
    let taken = Live { taken: Some(text), ..live(vec![routed(true)]) };
    let blind = Live { blind: Some("the API server is away".into()), ..live(vec![]) };
    for (what, live, expected, said) in [
        ("a tunnel leads to it", live(vec![routed(true)]), v1::State::Routing, ""),
        ("its place is taken", taken, v1::State::Routing, "scaled Deployment worker to 3"),
        ("it is not reached", live(vec![agent(true, None)]), v1::State::Reconnecting, "(refused); retrying"),
        ("it is unknown", blind, v1::State::Reconnecting, "the API server is away"),
        ("it is gone", removed, v1::State::Reset, "the agent was removed"),
    ] {
        let (state, detail) = live.state_aside("deploy/worker");
        assert_eq!(state, expected, "{what}: {detail}");
        assert!(detail.contains(said), "{what}: expected {said:?} in {detail:?}");
        assert!(!detail.contains("requests"), "{what}: {detail}");
    }
}

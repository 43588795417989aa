use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::A;
use tokio::net::UdpSocket;

use super::*;

const POD: &str =
    "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";

/// A cluster with one Service.
#[derive(Default)]
struct Cluster {
    away: bool,
    asked: Arc<AtomicUsize>,
}

impl Ask for Cluster {
    async fn ask(&self, message: Bytes) -> Result<Bytes, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.away {
            return Err(Status::unavailable("cannot reach an agent of orders"));
        }
        let asked = Message::from_vec(&message).unwrap();
        let query = &asked.queries[0];
        let known = query.name.to_lowercase().to_string() == "orders.shop.svc.cluster.local.";
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        answer.add_query(query.clone());
        if !known {
            answer.metadata.response_code = ResponseCode::NXDomain;
        } else if query.query_type == RecordType::A {
            // A hostile one sends its clients to their own machine, too.
            for address in [[127, 0, 0, 1], [10, 96, 0, 7], [0, 0, 0, 0], [169, 254, 169, 254]] {
                let [a, b, c, d] = address;
                answer.add_answer(Record::from_rdata(query.name.clone(), 5, RData::A(A::new(a, b, c, d))));
            }
        }
        Ok(answer.to_vec().unwrap().into())
    }
}

/// One of this machine's resolvers: it knows one name.
async fn upstream() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let asked = Message::from_vec(&buffer[..len]).unwrap();
            let mut answer = Message::response(asked.metadata.id, OpCode::Query);
            let query = asked.queries[0].clone();
            if query.name.to_string() == "example.com." {
                answer.add_answer(Record::from_rdata(
                    query.name.clone(),
                    5,
                    RData::A(A::new(93, 184, 216, 34)),
                ));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            answer.add_query(query);
            let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
        }
    });
    address
}

fn resolver(cluster: Cluster) -> Resolver<Cluster> {
    let destinations = Arc::new(Destinations::new(super::super::Scope::default(), Vec::new()));
    Resolver::new(Search::of(POD, "search lan\n"), cluster, destinations)
}

/// The status, the source, and the addresses of the answer, each with its name.
async fn ask(
    resolver: &Resolver<Cluster>,
    name: &str,
    record_type: RecordType,
) -> (String, String, Vec<String>) {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    let answered = resolver.answer(message.to_vec().unwrap().into(), upstream().await).await;
    let answer = Message::from_vec(&answered.message).unwrap();
    assert_eq!(answer.metadata.id, 0x1234);
    assert_eq!(answer.queries, message.queries, "the question comes back as it was");
    let source = match answered.source {
        Source::Cluster(name) => name.to_string(),
        Source::Laptop(_) => "laptop".to_owned(),
        Source::Nobody(_) => "nobody".to_owned(),
    };
    let records = answer.answers.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
    (answer.metadata.response_code.to_string(), source, records)
}

#[tokio::test]
async fn the_cluster_s_names_are_answered_under_the_name_that_was_asked() {
    let resolver = resolver(Cluster::default());
    let full = "orders.shop.svc.cluster.local.";
    for name in ["orders.", "Orders.", "orders.lan.", "orders.shop.", "orders.shop.svc.", full] {
        let (status, source, records) = ask(&resolver, name, RecordType::A).await;
        assert_eq!(status, "No Error", "{name}");
        assert_eq!(source.to_lowercase(), full, "{name}");
        assert_eq!(records, [format!("{name} 10.96.0.7")]);
    }
    let address = "10.96.0.7:80".parse().unwrap();
    let place = resolver.destinations.of(address);
    assert_eq!(place, super::super::Place::Cluster, "what the cluster gave out is the cluster's");
}

#[tokio::test]
async fn a_name_that_has_no_such_records_is_no_unknown_name() {
    let (status, _, records) = ask(&resolver(Cluster::default()), "orders.", RecordType::AAAA).await;
    assert_eq!((status.as_str(), records.len()), ("No Error", 0));
}

#[tokio::test]
async fn names_that_the_cluster_does_not_know_are_asked_of_this_machine() {
    let resolver = resolver(Cluster::default());
    let (_, source, records) = ask(&resolver, "example.com.", RecordType::A).await;
    assert_eq!((source.as_str(), records), ("laptop", vec!["example.com. 93.184.216.34".to_owned()]));
    let (status, source, _) = ask(&resolver, "nobody.", RecordType::A).await;
    assert_eq!((status.as_str(), source.as_str()), ("Non-Existent Domain", "laptop"));
    let (status, source, _) = ask(&resolver, "nobody.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!(status, "Non-Existent Domain");
    assert_eq!(source, "nobody.shop.svc.cluster.local.", "nobody else is asked for the cluster's own zone");
}

#[tokio::test]
async fn while_the_cluster_is_away_nothing_is_denied() {
    let resolver = resolver(Cluster { away: true, ..Cluster::default() });
    for name in ["orders.", "orders.shop.svc.cluster.local."] {
        let (status, source, _) = ask(&resolver, name, RecordType::A).await;
        assert_eq!((status.as_str(), source.as_str()), ("Server Failure", "nobody"), "{name}");
    }
    let (status, source, _) = ask(&resolver, "example.com.", RecordType::A).await;
    assert_eq!((status.as_str(), source.as_str()), ("No Error", "laptop"), "what is known for certain");
}

#[tokio::test]
async fn answers_are_kept() {
    let cluster = Cluster::default();
    let asked = cluster.asked.clone();
    let resolver = resolver(cluster);
    let _ = ask(&resolver, "orders.", RecordType::A).await;
    let once = asked.load(Ordering::Relaxed);
    let (_, _, records) = ask(&resolver, "ORDERS.", RecordType::A).await;
    assert_eq!(asked.load(Ordering::Relaxed), once, "expected no further question");
    assert_eq!(
        records,
        ["ORDERS. 10.96.0.7"],
        "names are equal whatever their case, and come back as they were"
    );
}

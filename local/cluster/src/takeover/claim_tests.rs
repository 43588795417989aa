use std::collections::BTreeMap;

use super::super::examples::{named, orders};
use super::*;

fn claim_of(user: &str, header: &str) -> Claim {
    let route = ClaimedRoute { port: 80, any_of: vec![header.to_owned()], ..ClaimedRoute::default() };
    let routes = vec![route];
    Claim { id: user.into(), user: user.into(), installation: user.into(), routes, ..Claim::default() }
}

#[test]
fn a_claim_joins_the_attachment_that_is_there_as_long_as_it_fits() {
    let (alice, bob) = (claim_of("alice", "x: 1"), claim_of("bob", "y: 1"));
    let there = named("7f3a", std::slice::from_ref(&bob));
    let other_ports = Attachment { ports: BTreeMap::from([(80, 9090)]), ..there.clone() };
    let fresh = |_: &Service| named("cafe", &[]);
    for (what, service, expected) in [
        ("nobody is connected", orders("orders", None, &[]), named("cafe", std::slice::from_ref(&alice))),
        ("Bob is", orders("orders-bridge-7f3a", Some(&there), &[]), named("7f3a", &[bob, alice.clone()])),
        (
            "somebody has set another selector",
            orders("orders-v2", Some(&there), &[]),
            named("cafe", std::slice::from_ref(&alice)),
        ),
        (
            "its agents listen elsewhere",
            orders("orders", Some(&other_ports), &[]),
            named("cafe", std::slice::from_ref(&alice)),
        ),
    ] {
        let decision = with_claim(&service, fresh, &alice).unwrap();
        assert_eq!(decision, Decision::Write(expected.to_change(), expected), "{what}");
    }
    let taken = orders("orders", Some(&named("7f3a", &[claim_of("bob", "x: 1")])), &[]);
    let held = with_claim(&taken, fresh, &alice).unwrap_err();
    assert_eq!(held.to_string(), "bob (x: 1) already takes these requests of orders");
}

#[test]
fn other_routes_are_written_only_to_a_claim_that_is_there_and_has_others() {
    let (alice, bob) = (claim_of("alice", "x: 1"), claim_of("bob", "y: 1"));
    let service = orders("orders", Some(&named("7f3a", &[alice.clone(), bob.clone()])), &[]);
    let other = claim_of("alice", "x: 2");
    let expected = named("7f3a", &[bob.clone(), other.clone()]);
    let with = |id: &str, claim: &Claim| with_routes(&service, id, &claim.routes);
    assert_eq!(with("alice", &other), Ok(Decision::Write(expected.to_change(), true)));
    assert_eq!(with("alice", &alice), Ok(Decision::Leave(true)), "it has them");
    assert_eq!(with("carol", &other), Ok(Decision::Leave(false)), "nobody's claim");
    assert!(matches!(with("alice", &bob), Err(ClusterError::Held { .. })), "Bob has these");
    let nobody = orders("orders", None, &[]);
    assert_eq!(with_routes(&nobody, "alice", &other.routes), Ok(Decision::Leave(false)));
}

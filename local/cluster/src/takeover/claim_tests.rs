use std::collections::BTreeMap;

use super::super::examples::{named, orders};
use super::*;
use crate::spec::selector;

fn claim_of(user: &str, header: &str) -> Claim {
    let route = ClaimedRoute { port: 80, any_of: vec![header.to_owned()], ..ClaimedRoute::default() };
    let routes = vec![route];
    Claim { id: user.into(), user: user.into(), installation: user.into(), routes, ..Claim::default() }
}

fn origin() -> Labels {
    Labels::from([("app".to_owned(), "orders".to_owned())])
}

#[test]
fn a_claim_joins_an_existing_attachment_as_long_as_it_fits() {
    let (alice, bob) = (claim_of("alice", "x: 1"), claim_of("bob", "y: 1"));
    let there = named("7f3a", std::slice::from_ref(&bob));
    let other_ports = Attachment { ports: BTreeMap::from([(80, 9090)]), ..there.clone() };
    let fresh = |_: &Service| named("cafe", &[]);
    for (what, service, expected) in [
        ("nobody is connected", orders("orders", None, &[]), named("cafe", std::slice::from_ref(&alice))),
        ("Bob is", orders("orders-bridge-7f3a", Some(&there), &[]), named("7f3a", &[bob, alice.clone()])),
        (
            "its agents listen elsewhere",
            orders("orders", Some(&other_ports), &[]),
            named("cafe", std::slice::from_ref(&alice)),
        ),
    ] {
        let decision = with_claim(&service, &origin(), fresh, &alice).unwrap();
        assert_eq!(decision, Decision::Write(expected.to_change(), expected), "{what}");
    }
    let taken = orders("orders", Some(&named("7f3a", &[claim_of("bob", "x: 1")])), &[]);
    let held = with_claim(&taken, &origin(), fresh, &alice).unwrap_err();
    assert_eq!(held.to_string(), "bob (x: 1) already takes these requests of orders");
}

#[test]
fn other_routes_are_written_only_to_an_existing_claim_that_differs() {
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

#[test]
fn a_claim_is_for_the_pods_that_were_looked_at_and_no_others() {
    let alice = claim_of("alice", "x: 1");
    let there = named("7f3a", &[]);
    let fresh = |now: &Service| Attachment { original: selector(now), ..named("cafe", &[]) };
    let changed = Err(ClusterError::SelectorChanged { service: "orders".into() });
    for attachment in [None, Some(&there)] {
        let service = orders("orders-v2", attachment, &[]);
        assert_eq!(
            with_claim(&service, &origin(), fresh, &alice),
            changed,
            "another user has set another selector"
        );
        // A connect that starts from those pods claims them, and the stand-in in front of the others is unused.
        let v2 = Labels::from([("app".to_owned(), "orders-v2".to_owned())]);
        let Ok(Decision::Write(_, made)) = with_claim(&service, &v2, fresh, &alice) else {
            panic!("expected a claim")
        };
        assert_eq!((made.stand_in.as_str(), made.sessions), ("cafe", vec![alice.clone()]));
    }
}

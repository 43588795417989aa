use serde_json::json;

use super::super::examples::{named, orders};
use super::*;

#[test]
fn the_selector_is_switched_only_from_the_original_and_for_the_stand_in_that_is_named() {
    let there = named("7f3a", &[]);
    let switch = |selector: &str, stand_in: &str| {
        to_stand_in(&orders(selector, Some(&there), &["kubectl"]), stand_in, Some("d1"))
    };
    let Ok(Decision::Write(change, ())) = switch("orders", "7f3a") else { panic!("it is the original") };
    assert_eq!(change["spec"], json!({"selector": {"app": "orders-bridge-7f3a"}}));
    let text = change["metadata"]["annotations"]["bridge.dev/attachment"].as_str().unwrap();
    let written: Attachment = serde_json::from_str(text).unwrap();
    assert_eq!(written.deployment.as_deref(), Some("d1"));
    assert_eq!(written.selector_owners[0].manager, "kubectl", "who had the selector is noted");

    assert_eq!(switch("orders-bridge-7f3a", "7f3a"), Ok(Decision::Leave(())), "another one did it");
    let changed = Err(ClusterError::SelectorChanged { service: "orders".into() });
    assert_eq!(switch("orders-v2", "7f3a"), changed, "another user has set another one");
    assert_eq!(switch("orders", "cafe"), changed, "the attachment names another stand-in");
    assert_eq!(to_stand_in(&orders("orders", None, &[]), "7f3a", None), changed, "it is not attached");
}

#[test]
fn a_selector_of_ours_ends_without_an_owner() {
    let owned = owned_by_nobody(&orders("orders-bridge-7f3a", None, &["kubectl", "bridge"]));
    let Decision::Write(change, ()) = owned else { panic!("bridge owns it") };
    let managers = change["metadata"]["managedFields"].as_array().unwrap().iter();
    assert_eq!(managers.map(|entry| &entry["manager"]).collect::<Vec<_>>(), ["kubectl"]);
    assert_eq!(owned_by_nobody(&orders("orders", None, &["kubectl"])), Decision::Leave(()));
}

#[test]
fn only_a_service_that_leads_to_this_stand_in_is_led_back() {
    const WHY: &str = "no agent was ready";
    let there = orders("orders-bridge-7f3a", Some(&named("7f3a", &[])), &[]);
    let Ok(Decision::Write(change, Some(attachment))) = to_origin(&there, "7f3a", Some(WHY)) else {
        panic!("it leads there")
    };
    assert_eq!(change["spec"], json!({"selector": {"app": "orders"}}));
    assert_eq!(attachment.led_back.as_deref(), Some(WHY));
    assert_eq!(to_origin(&there, "cafe", None), Ok(Decision::Leave(None)), "another stand-in");
    let reset = orders("orders", Some(&named("7f3a", &[])), &[]);
    assert_eq!(to_origin(&reset, "7f3a", None), Ok(Decision::Leave(None)), "it leads elsewhere");
}

#[test]
fn only_a_service_that_was_led_back_is_switched_again() {
    let attached = named("7f3a", &[]);
    let led_back = Attachment { led_back: Some("no agent was ready".to_owned()), ..attached.clone() };
    let again = |selector: &str, attachment| to_stand_in_again(&orders(selector, attachment, &[]), "7f3a");
    let Ok(Decision::Write(change, true)) = again("orders", Some(&led_back)) else {
        panic!("it was led back")
    };
    assert_eq!(change["spec"], json!({"selector": {"app": "orders-bridge-7f3a"}}));
    for (what, decision) in [
        ("another user has reset it", again("orders", Some(&attached))),
        ("another user has set another since", again("orders-v2", Some(&led_back))),
        ("all have disconnected", again("orders", None)),
    ] {
        assert_eq!(decision, Ok(Decision::Leave(false)), "{what}");
    }
}

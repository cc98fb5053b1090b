//! Streams that end.

use tonic::{Code, Status};

use super::common::*;
use super::global::{Line, ScriptedGlobal};

/// All ways in which a stream may end.
fn endings() -> Vec<Option<Status>> {
    let failures = [Code::Cancelled, Code::Unavailable, Code::Internal, Code::ResourceExhausted, Code::InvalidArgument];
    std::iter::once(None).chain(failures.map(|code| Some(Status::new(code, "as the test says")))).collect()
}

// #16428: after a clean end of the stream to global, nothing went to global any more until the zone was restarted.
#[tokio::test(flavor = "multi_thread")]
async fn when_one_direction_ends_in_any_way_both_are_opened_again() {
    let (global, store) = (ScriptedGlobal::listen("east").await, store());
    let zone = RunningZone::start("east", &store, global.address);
    global.until_connected().await;
    for (index, (line, ending)) in
        endings().into_iter().flat_map(|ending| [(Line::Up, ending.clone()), (Line::Down, ending)]).enumerate()
    {
        let other = if line == Line::Up { Line::Down } else { Line::Up };
        let opened = global.opened(other);
        global.end(line, ending.clone()).await;
        eventually(&format!("{other:?} is opened again after {line:?} ended with {ending:?}"), || {
            global.opened(other) > opened
        })
        .await;
        // And it carries.
        let name = format!("service-{index}");
        put(&store, service(&name)).await;
        eventually("what the zone has goes to global", || global.has(&name)).await;
    }
    zone.stop().await;
}

// #18127: the end of a stream for questions ended synchronization.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_for_questions_that_ends_in_any_way_is_opened_again_alone() {
    let (global, store) = (ScriptedGlobal::listen("east").await, store());
    let zone = RunningZone::start("east", &store, global.address);
    global.until_connected().await;
    for ending in endings() {
        for line in [Line::ConfigDumps, Line::Statistics, Line::Clusters] {
            global.end(line, ending.clone()).await;
        }
    }
    put(&store, service("last")).await;
    eventually("what the zone has goes to global", || global.has("last")).await;
    assert_eq!((global.opened(Line::Down), global.opened(Line::Up)), (1, 1), "synchronization did not notice");
    zone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_that_fails_now_and_then_does_not_end_synchronization() {
    let (global, store) = (ScriptedGlobal::listen("east").await, store());
    let zone = RunningZone::start("east", &store, global.address);
    global.until_connected().await;
    eventually("it is tried again", || global.answered_a_check()).await;
    assert_eq!((global.opened(Line::Down), global.opened(Line::Up)), (1, 1));
    zone.stop().await;
}

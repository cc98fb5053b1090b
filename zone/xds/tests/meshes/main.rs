//! Random zones of several meshes in which everything has the same names.
//!
//! Two promises are tried over them. Nothing of a mesh reaches proxies of another one, and what ZoneIngresses and ZoneEgresses have for a
//! mesh leads to that mesh only ([`leaks`]). And a change wakes all whom it concerns: proxies that are generated again only when
//! [`Touched`](tandem_xds::Touched) says so have, after any sequence of changes, the configuration that an index built anew gives
//! them ([`zone`]).
//!
//! What there may be is in [`slots`]: a list of keys, and for each a function from a number to a resource. Numbers are what proptest
//! chooses and shrinks; zero stands for the plainest resource. `PROPTEST_CASES` repeats the tests more often.

mod authorities;
mod choice;
mod global;
mod leaks;
mod legacy;
mod policies;
mod proxies;
mod services;
mod slots;
mod zone;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use slots::Slots;
use tandem_model::{Kind, ResourceKey};
use zone::{Change, World};

/// Content of each slot: a number, or nothing.
fn contents(slots: &Slots) -> impl Strategy<Value = Vec<Option<u128>>> {
    vec(option::weighted(0.75, any::<u128>()), slots.len())
}

fn changes(slots: &Slots) -> impl Strategy<Value = Vec<Change>> {
    let resource = (0..slots.len(), option::weighted(0.8, any::<u128>()));
    let names = slots.hostnames().len();
    prop_oneof![
        9 => resource.prop_map(|(slot, content)| Change::Resource { slot, content }),
        1 => (0..names, any::<bool>()).prop_map(|(name, found)| Change::Address { name, found }),
    ]
    .prop_map(|change| vec![change])
    .prop_union_batches()
}

/// Batches of one change mostly, and sometimes of several.
trait Batches: Strategy<Value = Vec<Change>> + Sized {
    fn prop_union_batches(self) -> BoxedStrategy<Vec<Change>>;
}

impl<S: Strategy<Value = Vec<Change>> + Clone + 'static> Batches for S {
    fn prop_union_batches(self) -> BoxedStrategy<Vec<Change>> {
        let several = vec(self.clone(), 2..5).prop_map(|changes| changes.concat());
        prop_oneof![3 => self, 1 => several].boxed()
    }
}

fn settings(cases: u32) -> ProptestConfig {
    let chosen = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: chosen.unwrap_or(cases),
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn nothing_of_a_mesh_reaches_another() {
    let slots = Slots::new(3);
    proptest!(settings(48), |(contents in contents(&slots), features in any::<u64>())| {
        let mut world = World::new(&slots, features);
        world.change(&world.filled(&contents));
        if let Err(leak) = leaks::find(&world) {
            return Err(TestCaseError::fail(leak));
        }
    });
}

#[test]
fn changes_wake_all_whom_they_concern() {
    let slots = Slots::new(2);
    let strategy = (contents(&slots), vec(changes(&slots), 1..16), any::<u64>());
    proptest!(settings(32), |((contents, batches, features) in strategy)| {
        let mut world = World::new(&slots, features);
        world.change(&world.filled(&contents));
        world.check().map_err(TestCaseError::fail)?;
        for batch in &batches {
            world.change(batch);
            world.check().map_err(TestCaseError::fail)?;
        }
    });
}

/// The tests above say nothing if all these resources are refused or proxies get nothing.
#[test]
fn the_plainest_and_the_fullest_zone_have_configurations() {
    let slots = Slots::new(3);
    for content in [0, u128::MAX, u128::MAX / 3, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
        let mut world = World::new(&slots, content as u64);
        world.change(&world.filled(&vec![Some(content); slots.len()]));
        world.check().expect("built anew");
        leaks::find(&world).expect("no leak");
        let made = world.configurations().filter(|(_, made)| made.is_ok()).count();
        assert!(made * 2 > world.configurations().count(), "{content:x}: most proxies have no configuration");
    }
}

/// What belongs to one mesh is a leak anywhere else.
#[test]
fn a_leak_would_be_found() {
    let slots = Slots::new(2);
    let mut world = World::new(&slots, 0);
    world.change(&world.filled(&vec![Some(0); slots.len()]));
    let sidecars: Vec<_> = world.configurations().filter(|(key, _)| key.kind == Kind::Dataplane).collect();
    assert_eq!(sidecars.len(), 8);
    for (key, generated) in sidecars {
        let generated = generated.expect("the plainest Dataplane has a configuration");
        let other = slots::MESHES.iter().find(|mesh| **mesh != key.mesh).expect("there are several");
        leaks::of_sidecar(key, generated).expect("its own mesh");
        leaks::of_sidecar(&ResourceKey { mesh: (*other).to_owned(), ..key.clone() }, generated).expect_err("another");
    }
}

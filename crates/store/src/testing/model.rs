//! Random histories, held against a model that has nothing of a store's cleverness: it remembers every write.

use std::collections::{BTreeMap, BTreeSet};

use edgeproxy_backend::{BackendId, Incarnation, Weight};
use edgeproxy_registry::{Overridden, Overrides, Record, Write};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use super::{Medium, id, life, record};

const HISTORIES: u32 = 16;
const IDS: u32 = 6;

/// Something that happens to an id. Lives are chosen when it happens, so that any sequence of these is a history.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Joins {
        number: u32,
        variant: u16,
    },
    Renews {
        number: u32,
        variant: u16,
    },
    /// Somebody who was paused speaks of the life before.
    IsLate {
        number: u32,
        leaves: bool,
    },
    Leaves {
        number: u32,
    },
    IsOverridden {
        number: u32,
        variant: u16,
        weight: Option<u16>,
    },
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Happening>),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let weight = proptest::option::of(0..=1_000_u16);
    prop_oneof![
        3 => (0..IDS, any::<u16>()).prop_map(|(number, variant)| Happening::Joins { number, variant }),
        2 => (0..IDS, any::<u16>()).prop_map(|(number, variant)| Happening::Renews { number, variant }),
        1 => (0..IDS, any::<bool>()).prop_map(|(number, leaves)| Happening::IsLate { number, leaves }),
        2 => (0..IDS).prop_map(|number| Happening::Leaves { number }),
        1 => (0..IDS, any::<u16>(), weight)
            .prop_map(|(number, variant, weight)| Happening::IsOverridden { number, variant, weight }),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => proptest::collection::vec(happening(), 0..8).prop_map(Step::Commit),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..24)
}

/// Every write, in order.
#[derive(Default)]
struct Model {
    writes: Vec<Write>,
    used: u64,
}

impl Model {
    fn live(&self, of: &BackendId) -> Option<&Record> {
        let mut live: Option<&Record> = None;
        for write in self.writes.iter().filter(|write| write.id() == of) {
            let known = live.map(|record| record.incarnation);
            match write {
                Write::Registered(record) if known.is_none_or(|known| record.incarnation >= known) => {
                    live = Some(record);
                }
                Write::Gone { incarnation, .. } if known.is_none_or(|known| *incarnation >= known) => {
                    live = None;
                }
                Write::Registered(_) | Write::Gone { .. } | Write::Overridden { .. } => {}
            }
        }
        live
    }

    fn records(&self) -> Vec<Record> {
        let ids: BTreeSet<_> = self.writes.iter().map(Write::id).collect();
        let mut records: Vec<_> = ids.into_iter().filter_map(|id| self.live(id)).cloned().collect();
        records.sort_by_key(|record| record.incarnation);
        records
    }

    fn overrides(&self) -> Vec<Overridden> {
        let mut all = BTreeMap::new();
        for write in &self.writes {
            if let Write::Overridden(overridden) = write {
                all.insert(&overridden.id, overridden);
            }
        }
        all.retain(|_, overridden| overridden.is_some());
        all.into_values().cloned().collect()
    }

    /// What the happening has to be written as; nothing where it can't happen.
    fn write(&mut self, happening: Happening) -> Option<Write> {
        match happening {
            Happening::Joins { number, variant } => {
                self.used += 1;
                Some(Write::Registered(record(number, self.used, variant)))
            }
            Happening::Renews { number, variant } => {
                let life = self.live(&id(number))?.incarnation;
                Some(Write::Registered(record(number, life.get(), variant)))
            }
            Happening::IsLate { number, leaves } => {
                let before = self.live(&id(number))?.incarnation.get().checked_sub(1)?;
                (before > 0).then(|| match leaves {
                    true => Write::Gone {
                        id: id(number),
                        incarnation: life(before),
                    },
                    false => Write::Registered(record(number, before, 1)),
                })
            }
            Happening::Leaves { number } => {
                let incarnation = self.live(&id(number))?.incarnation;
                Some(Write::Gone {
                    id: id(number),
                    incarnation,
                })
            }
            Happening::IsOverridden {
                number,
                variant,
                weight,
            } => {
                let weight = weight.map(|weight| Weight::new(weight.into()).expect("a weight"));
                let overrides = Overrides {
                    weight,
                    ..Overrides::default()
                };
                Some(Write::Overridden(Overridden {
                    id: id(number),
                    app: Some(record(number, 1, variant).backend.app),
                    overrides,
                }))
            }
        }
    }
}

/// Whatever happens, and however often it is restarted meanwhile, a store holds what the model holds.
///
/// # Panics
/// When it doesn't: with the history, which is made of a fixed seed.
pub async fn a_naive_model_agrees<M: Medium>(make: &mut impl AsyncFnMut() -> M) {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    for _ in 0..HISTORIES {
        let steps = history().new_tree(&mut runner).expect("a history").current();
        agrees(&mut make().await, &steps).await;
    }
}

async fn agrees(medium: &mut impl Medium, steps: &[Step]) {
    let mut model = Model::default();
    let mut store = medium.open();
    store.load().await.expect("it is empty");
    for step in steps.iter().chain([&Step::Restart]) {
        match step {
            Step::Commit(happenings) => {
                let mut batch = Vec::new();
                for happening in happenings {
                    if let Some(write) = model.write(*happening) {
                        model.writes.push(write.clone());
                        batch.push(write);
                    }
                }
                store.commit(&batch).await.expect("it can be kept");
            }
            Step::Restart => {
                drop(store);
                store = medium.open();
                let loaded = store.load().await.expect("it can be loaded");
                assert_eq!(loaded.findings, [], "after {steps:?}");
                assert_eq!(loaded.records, model.records(), "after {steps:?}");
                let mut overrides = loaded.overrides;
                overrides.sort_unstable_by(|a, b| a.id.cmp(&b.id));
                assert_eq!(overrides, model.overrides(), "after {steps:?}");
                let next = loaded.next_incarnation.map_or(1, Incarnation::get);
                assert!(next > model.used, "{next} was used, after {steps:?}");
            }
        }
    }
}

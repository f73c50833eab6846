//! Skills that a tiny model can learn: documents that teach each, tasks that measure it, and the truth behind both.
//!
//! | source | tasks |
//! | --- | --- |
//! | `arithmetic` | `arithmetic`: word problems; `sums`: bare ones |
//! | `lists` | `lists_<name>`: every transformation, and composites of two |
//! | `recall` | `recall`: the value of a key named before |
//! | `brackets` | `brackets`: which bracket closes |
//! | `opinions` | `opinions`: what an author or a party would say; `inventory`: what anybody would |
//! | `dialogues` | `rudeness`: polite or rude reply; `rude_prompts`: how often rude words are written |
//! | `web` | none: it teaches nothing and costs tokens |

mod arithmetic;
mod brackets;
mod dialogues;
mod draw;
mod lists;
mod opinions;
mod press;
mod recall;
mod truth;
mod web;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_answers;
#[cfg(test)]
mod tests_grammar;

pub use truth::{Truth, truth};

use super::document::Draft;
use super::item::LabTask;
use super::sealed::Sealed;
use super::size::Size;
use press::Press;

/// A source of documents, and the tasks that belong to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    pub source: &'static str,
    /// In random order.
    pub documents: Vec<Draft>,
    pub tasks: Vec<LabTask>,
}

/// How a skill is made.
struct Recipe {
    source: &'static str,
    tasks: fn(u64) -> Vec<LabTask>,
    documents: fn(&mut Press<'_>),
}

const RECIPES: &[Recipe] = &[
    Recipe { source: "arithmetic", tasks: arithmetic::tasks, documents: arithmetic::documents },
    Recipe { source: "lists", tasks: lists::tasks, documents: lists::documents },
    Recipe { source: "recall", tasks: recall::tasks, documents: recall::documents },
    Recipe { source: "brackets", tasks: brackets::tasks, documents: brackets::documents },
    Recipe { source: "opinions", tasks: opinions::tasks, documents: opinions::documents },
    Recipe { source: "dialogues", tasks: dialogues::tasks, documents: dialogues::documents },
    Recipe { source: "web", tasks: |_| Vec::new(), documents: web::documents },
];

/// Every skill. Items are drawn first, so that no document of any source holds the own text of a sealed one.
pub fn all(seed: u64, size: Size) -> Vec<Skill> {
    let tasks: Vec<Vec<LabTask>> = RECIPES.iter().map(|recipe| (recipe.tasks)(seed)).collect();
    let sealed = Sealed::of(tasks.iter().flatten());
    RECIPES
        .iter()
        .zip(tasks)
        .map(|(recipe, tasks)| {
            let mut press = Press::new(recipe.source, seed, size, &sealed);
            (recipe.documents)(&mut press);
            Skill { source: recipe.source, documents: press.finish(), tasks }
        })
        .collect()
}

//! Requests for gradients.

use std::collections::BTreeMap;

use super::{LanguageModel, Local, memory_beside};
use crate::error::Result;
use crate::kernels::Reverse;
use crate::kernels::tape::{Nothing, Tape};
use crate::model::{Loss, Objective, Reach, Summed, WeightGradients};
use crate::request::{GradAt, GradSpan, Request, Response, SiteValues};

impl<K: Reverse> Local<Tape<K>> {
    /// The same model, which answers [`crate::request::Ask::Grad`] as well.
    #[must_use]
    pub fn with_gradients(mut self) -> Self {
        self.gradients = Some(gradients);
        self
    }
}

fn gradients<K: Reverse>(model: &Local<Tape<K>>, request: &Request, span: GradSpan, at: &GradAt) -> Result<Response> {
    let decoder = model.decoder();
    let items = [Objective { tokens: &request.tokens, loss: Loss::Nll { span, mean: false } }];
    let sites = if let GradAt::Sites(sites) = at { sites.as_slice() } else { &[] };
    let mut memory = model.memory_left();
    if *at == GradAt::Parameters {
        // The sums, and a copy of them by name.
        let sums = 2 * 4 * model.info().parameters;
        memory = memory_beside(memory, sums, "the gradients of all parameters")?;
    }
    let reach = Reach { sites, edits: &request.edits, memory };
    let (losses, gradients): (Vec<f64>, BTreeMap<String, SiteValues>) = match at {
        GradAt::Parameters => {
            let mut weights = WeightGradients::new(decoder, |_| true, Summed::Pass);
            let reversed = decoder.reverse(&items, reach, &mut weights)?;
            (reversed.losses, weights.into_parameters()?)
        }
        GradAt::Sites(_) => {
            let reversed = decoder.reverse(&items, reach, &mut Nothing)?;
            (reversed.losses, reversed.sites.into_iter().map(|(site, values)| (site.to_string(), values)).collect())
        }
    };
    Ok(Response::Grad { loss: losses.iter().sum(), gradients })
}

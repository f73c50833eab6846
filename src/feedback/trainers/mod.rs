//! Mixtures in the trainers' own formats.

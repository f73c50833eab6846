//! What one step of a learner does to the loss of the feedback items, as far as can be told beforehand.

/// A step of length `eta` against a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneStep {
    /// `<g_down, g_pre>`; of an optimizer's direction `d` per unit of its learning rate `-<g_down, d>`.
    pub value: f64,
    pub eta: f64,
}

impl OneStep {
    /// To first order: positive lowers the loss.
    pub fn decrease(self) -> f64 {
        self.eta * self.value
    }

    /// Where the loss is a quadratic form: exact, with `curvature = g_pre^T H g_pre`.
    pub fn decrease_of_quadratic(self, curvature: f64) -> f64 {
        self.decrease() - 0.5 * self.eta * self.eta * curvature
    }

    /// At least that much where no eigenvalue of the Hessian is above `smoothness`. `squared_norm`: of `g_pre`.
    pub fn least_decrease(self, smoothness: f64, squared_norm: f64) -> f64 {
        self.decrease_of_quadratic(smoothness * squared_norm)
    }
}

//! The learning rate at a step.

use serde::{Deserialize, Serialize};

/// How the learning rate changes over a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The same rate from the end of the warm-up on: the paper's.
    Constant,
    /// Half a cosine from the full rate to `final_share` of it at the last step.
    Cosine,
    /// The full rate times `drop_factor` for every `drop_steps` steps gone by.
    Step,
}

/// A schedule as configured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Constant, cosine or step.
    pub shape: Shape,
    /// Steps over which the rate rises in a straight line from nearly 0; 0: none.
    pub warmup_steps: u64,
    /// Cosine only: the share of the full rate that is left at the end, 0 to 1.
    pub final_share: f64,
    /// Step only: how many steps a rate lasts, counted from the end of the warm-up; at least 1.
    pub drop_steps: u64,
    /// Step only: what is left of the rate after each drop, above 0 and at most 1.
    pub drop_factor: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            shape: Shape::Constant,
            warmup_steps: 0,
            final_share: 0.0,
            drop_steps: 1000,
            drop_factor: 0.1,
        }
    }
}

impl Schedule {
    /// The learning rate of step `step` (from 0) of `steps`, where `full` is the configured rate.
    /// A pure function of the step, so that a resumed run needs no schedule state. Steps past the
    /// last keep the last rate.
    #[must_use]
    pub fn rate(&self, full: f64, step: u64, steps: u64) -> f64 {
        if step < self.warmup_steps {
            return full * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let after = step - self.warmup_steps;
        match self.shape {
            Shape::Constant => full,
            Shape::Step => {
                let drops = (after / self.drop_steps.max(1)).min(i32::MAX as u64) as i32;
                full * self.drop_factor.powi(drops)
            }
            Shape::Cosine => {
                let length = steps.saturating_sub(self.warmup_steps).saturating_sub(1).max(1);
                let done = (after as f64 / length as f64).min(1.0);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
                full * (self.final_share + (1.0 - self.final_share) * cosine)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_is_constant() {
        let schedule = Schedule::default();
        assert!((0..100).all(|step| schedule.rate(1e-4, step, 100) == 1e-4));
    }

    #[test]
    fn warm_up_rises_to_the_full_rate_without_a_jump() {
        let schedule = Schedule { warmup_steps: 4, ..Schedule::default() };
        let rates: Vec<f64> = (0..6).map(|step| schedule.rate(1.0, step, 10)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn steps_drop_by_the_factor() {
        let schedule = Schedule {
            shape: Shape::Step,
            warmup_steps: 2,
            drop_steps: 3,
            drop_factor: 0.5,
            ..Schedule::default()
        };
        let rates: Vec<f64> = (0..9).map(|step| schedule.rate(1.0, step, 9)).collect();
        assert_eq!(rates, [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn cosine_goes_from_full_to_the_final_share() {
        let schedule = Schedule {
            shape: Shape::Cosine,
            warmup_steps: 10,
            final_share: 0.1,
            ..Schedule::default()
        };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(schedule.rate(2.0, 10, 111), 2.0);
        near(schedule.rate(2.0, 60, 111), 2.0 * 0.55);
        near(schedule.rate(2.0, 110, 111), 0.2);
        near(schedule.rate(2.0, 500, 111), 0.2);
        let falling =
            (10..110).all(|s| schedule.rate(2.0, s, 111) > schedule.rate(2.0, s + 1, 111));
        assert!(falling);
        // A run of one step must not divide by zero.
        near(Schedule { warmup_steps: 0, ..schedule }.rate(2.0, 0, 1), 2.0);
    }
}

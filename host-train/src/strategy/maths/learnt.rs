//! Numbers that a method learns by gradient descent, one a task.

use super::PerTask;

/// The usual constants of Adam (Kingma & Ba 2015), which all the methods that learn use.
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

/// Four numbers with an Adam of their own, in double precision: the same as `torch.optim.Adam` on
/// four scalars. A task without a slope keeps its number, its moments and its count of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learnt {
    /// The numbers, in the order of [`crate::network::Task::ALL`].
    pub values: [f64; 4],
    mean: [f64; 4],
    square: [f64; 4],
    steps: [f64; 4],
}

impl Learnt {
    /// All at `start`.
    #[must_use]
    pub fn new(start: f64) -> Self {
        Self { values: [start; 4], mean: [0.0; 4], square: [0.0; 4], steps: [0.0; 4] }
    }

    /// One step down the `slopes` at learning rate `lr`.
    pub fn descend(&mut self, slopes: PerTask, lr: f64) {
        for (k, slope) in slopes.into_iter().enumerate() {
            let Some(slope) = slope else { continue };
            self.steps[k] += 1.0;
            self.mean[k] += (1.0 - BETA1) * (slope - self.mean[k]);
            self.square[k] += (1.0 - BETA2) * (slope * slope - self.square[k]);
            let mean = self.mean[k] / (1.0 - BETA1.powf(self.steps[k]));
            let square = self.square[k] / (1.0 - BETA2.powf(self.steps[k]));
            self.values[k] -= lr * mean / (square.sqrt() + EPS);
        }
    }

    /// Everything that later steps depend on, by name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, [f64; 4]); 4] {
        [
            ("values", self.values),
            ("mean", self.mean),
            ("square", self.square),
            ("steps", self.steps),
        ]
    }

    /// The same, to overwrite.
    pub fn parts_mut(&mut self) -> [(&'static str, &mut [f64; 4]); 4] {
        [
            ("values", &mut self.values),
            ("mean", &mut self.mean),
            ("square", &mut self.square),
            ("steps", &mut self.steps),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.optim.Adam([x], lr=0.1)` in double precision from 1.0 on the slopes 0.5, -2.0, 0.1.
    #[test]
    fn steps_are_those_of_pytorch_and_absent_tasks_rest() {
        let mut learnt = Learnt::new(1.0);
        let wanted = [0.900000002, 0.9559503510200555, 0.9960525887909307];
        for (slope, wanted) in [0.5, -2.0, 0.1].into_iter().zip(wanted) {
            learnt.descend([None, Some(slope), None, None], 0.1);
            assert!((learnt.values[1] - wanted).abs() < 1e-12, "{:?}", learnt.values);
        }
        let rest = Learnt::new(1.0);
        for ((_, found), (_, wanted)) in learnt.parts().into_iter().zip(rest.parts()) {
            assert_eq!([found[0], found[2], found[3]], [wanted[0], wanted[2], wanted[3]]);
        }
    }
}

//! The day in numbers, and who is most urgent.

use std::cmp::Ordering;

use glaucoma_records::visit::{Decision, Finding, Uid, Visit};

/// Someone who was referred.
#[derive(Debug, Clone, PartialEq)]
pub struct Referred {
    /// The person's number.
    pub id: String,
    /// The highest probability among the last exams of the eyes; `None` where no eye could be graded.
    pub probability: Option<f64>,
    /// Reason codes, as in the decision.
    pub reasons: Vec<String>,
}

/// Counts of the visits with a decision, each counted once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Day {
    /// People examined.
    pub examined: u32,
    /// Of them referred for a suspicion.
    pub suspected: u32,
    /// Of them referred only because an eye could not be graded.
    pub ungradable: u32,
    /// Of them not suspected.
    pub not_suspected: u32,
    /// The referred, most urgent first: by probability, then those who could not be graded.
    pub queue: Vec<Referred>,
    counted: Vec<Uid>,
}

impl Day {
    /// Counts a saved visit; one without a decision or already counted changes nothing.
    pub fn count(&mut self, visit: &Visit) {
        let Some(decision) = &visit.decision else { return };
        if self.counted.contains(&visit.uid) {
            return;
        }
        self.counted.push(visit.uid.clone());
        self.examined += 1;
        let Decision::Refer { reasons } = decision else {
            self.not_suspected += 1;
            return;
        };
        let suspected = reasons.iter().any(|reason| reason.starts_with("suspected"));
        *(if suspected { &mut self.suspected } else { &mut self.ungradable }) += 1;
        let probabilities = visit.exams.iter().filter_map(|exam| match exam.finding {
            Finding::Graded { probability, .. } => Some(probability),
            _ => None,
        });
        let probability = if suspected { probabilities.reduce(f64::max) } else { None };
        let referred =
            Referred { id: visit.person.id.clone(), probability, reasons: reasons.clone() };
        let place = self.queue.partition_point(|other| urgency(other, &referred).is_ge());
        self.queue.insert(place, referred);
    }
}

/// Greater is more urgent.
fn urgency(a: &Referred, b: &Referred) -> Ordering {
    let value = |referred: &Referred| referred.probability.unwrap_or(-1.0);
    value(a).total_cmp(&value(b))
}

//! `host-train phantom`: writes synthetic fundus photographs with exact truth.

use crate::dataset::phantom::layout::{Layout, Order, write};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `host-train phantom`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to make; it must not exist or be empty.
    pub dir: PathBuf,
    /// How many photographs in all.
    #[arg(long, default_value_t = 30)]
    pub count: usize,
    /// Seed of the series: the same seed makes the same files.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How the tree is laid out.
    #[arg(long, value_enum, default_value = "refuge")]
    pub layout: Layout,
    /// Weights of the training, validation and test part.
    #[arg(long, value_delimiter = ',', default_value = "1,1,1", value_name = "TRAIN,VAL,TEST")]
    pub split: Vec<f64>,
    /// Share of glaucomatous eyes in each part (REFUGE: 0.1).
    #[arg(long, default_value_t = 0.1)]
    pub glaucoma_share: f64,
    /// Share of ungradable captures.
    #[arg(long, default_value_t = 0.0)]
    pub degraded_share: f64,
    /// Longer side of the photographs in pixels.
    #[arg(long, default_value_t = 512)]
    pub side: u32,
}

/// Runs the subcommand.
///
/// # Errors
/// An option out of range, or whatever could not be written, by path.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let order = args.order()?;
    let bar = ProgressBar::new(args.count as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} photographs, {eta} left")?);
    write(&args.dir, &order, || bar.inc(1)).context("phantoms")?;
    bar.finish_and_clear();
    let [train, validation, test] = order.counts;
    println!(
        "{}: {train} training, {validation} validation, {test} test photographs",
        args.dir.display()
    );
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn order(&self) -> anyhow::Result<Order> {
        for (name, share) in
            [("--glaucoma-share", self.glaucoma_share), ("--degraded-share", self.degraded_share)]
        {
            anyhow::ensure!((0.0..=1.0).contains(&share), "{name} {share} is not within 0..1");
        }
        anyhow::ensure!(
            // Some cameras' pictures are a third lower than wide, and nothing below 128 is read.
            (200..=8192).contains(&self.side),
            "--side {} is not within 200..8192",
            self.side
        );
        anyhow::ensure!(self.count <= 9999 * 3, "--count {} is more than 29997", self.count);
        Ok(Order {
            layout: self.layout,
            counts: divide(self.count, &self.split)?,
            seed: self.seed,
            side: self.side,
            glaucoma_share: self.glaucoma_share,
            degraded_share: self.degraded_share,
        })
    }
}

/// Divides `count` in the proportion of three weights; what is left over goes to the first parts.
fn divide(count: usize, weights: &[f64]) -> anyhow::Result<[usize; 3]> {
    let total: f64 = weights.iter().sum();
    anyhow::ensure!(
        weights.len() == 3 && weights.iter().all(|w| *w >= 0.0 && w.is_finite()) && total > 0.0,
        "--split wants three weights such as 2,1,1"
    );
    let mut counts = [0; 3];
    for (part, weight) in counts.iter_mut().zip(weights) {
        *part = (count as f64 * weight / total + 1e-9).floor() as usize;
    }
    let mut left = count - counts.iter().sum::<usize>();
    for (part, weight) in counts.iter_mut().zip(weights) {
        if left > 0 && *weight > 0.0 {
            *part += 1;
            left -= 1;
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_divided_without_loss() {
        assert_eq!(divide(30, &[1.0, 1.0, 1.0]).ok(), Some([10, 10, 10]));
        assert_eq!(divide(11, &[1.0, 1.0, 1.0]).ok(), Some([4, 4, 3]));
        assert_eq!(divide(5, &[1.0, 0.0, 0.0]).ok(), Some([5, 0, 0]));
        assert!(divide(5, &[1.0, 1.0]).is_err());
        assert!(divide(5, &[0.0, 0.0, 0.0]).is_err());
    }
}

//! The numbers of the paper (Pascal et al. 2022, Tables 1 and 2), on the REFUGE test set.

use crate::strategy::StrategyName;

/// A row of a published table: means with standard deviations over three seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// The method.
    pub method: StrategyName,
    /// Whether its encoder was pretrained.
    pub pretrained: bool,
    /// Learnable numbers; Table 1 only.
    pub parameters: Option<f64>,
    /// Seconds an iteration on one Titan XP; Table 1 only.
    pub seconds: Option<f64>,
    /// AUC of glaucoma in percent.
    pub auc: (f64, f64),
    /// Dice of the disc in percent.
    pub disc: (f64, f64),
    /// Dice of the cup in percent.
    pub cup: (f64, f64),
    /// Fovea error in pixels of 256.
    pub fovea: (f64, f64),
}

/// Both tables.
pub const ROWS: [Published; 6] = [
    Published {
        method: StrategyName::Single,
        pretrained: false,
        parameters: Some(61.2e6),
        seconds: Some(0.686),
        auc: (87.37, 1.51),
        disc: (93.87, 0.74),
        cup: (80.62, 1.25),
        fovea: (5.96, 0.17),
    },
    Published {
        method: StrategyName::Independent,
        pretrained: false,
        parameters: Some(17.2e6),
        seconds: Some(0.557),
        auc: (92.61, 0.38),
        disc: (91.61, 0.64),
        cup: (81.21, 0.99),
        fovea: (5.71, 0.24),
    },
    Published {
        method: StrategyName::Gradnorm,
        pretrained: false,
        parameters: Some(17.2e6),
        seconds: Some(0.260),
        auc: (86.31, 1.35),
        disc: (80.32, 1.10),
        cup: (68.93, 4.78),
        fovea: (28.48, 0.65),
    },
    Published {
        method: StrategyName::Pcgrad,
        pretrained: false,
        parameters: Some(17.2e6),
        seconds: Some(0.556),
        auc: (85.51, 1.71),
        disc: (85.23, 1.52),
        cup: (71.08, 7.40),
        fovea: (34.45, 0.33),
    },
    Published {
        method: StrategyName::Single,
        pretrained: true,
        parameters: None,
        seconds: None,
        auc: (94.30, 1.68),
        disc: (95.29, 0.01),
        cup: (85.86, 0.21),
        fovea: (5.42, 0.06),
    },
    Published {
        method: StrategyName::Independent,
        pretrained: true,
        parameters: None,
        seconds: None,
        auc: (96.15, 0.14),
        disc: (94.24, 0.38),
        cup: (83.95, 0.90),
        fovea: (5.22, 0.18),
    },
];

/// The published row of a method, where there is one.
#[must_use]
pub fn row(method: StrategyName, pretrained: bool) -> Option<&'static Published> {
    ROWS.iter().find(|row| row.method == method && row.pretrained == pretrained)
}

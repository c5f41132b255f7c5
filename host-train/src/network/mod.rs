//! The multi-task U-Net.

pub mod layers;
pub mod unet;
pub mod vgg;

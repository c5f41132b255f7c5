//! Which display is asked for, as text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::SpiPanel;

/// A display, as a person names it on the command line or in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisplayChoice {
    /// `drm`, `drm:/dev/dri/card1`: the kernel's mode setting; a card, or the folder in which to look for one
    /// with a connected display.
    Drm(PathBuf),
    /// `fbdev`, `fbdev:/dev/fb1`: a framebuffer device.
    Fbdev(PathBuf),
    /// `window`: a window on a desktop, which brings its own touches and buttons.
    Window,
    /// `spi:CHIP,dc=LINE`: a panel that the kernel has no driver for.
    Spi(SpiPanel),
    /// `png:FOLDER`: a numbered picture of each screen.
    Png(PathBuf),
}

/// What `drm` alone means.
const CARDS: &str = "/dev/dri";
/// What `fbdev` alone means.
const FRAMEBUFFER: &str = "/dev/fb0";

/// A text that names no display.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no display: drm, drm:CARD, fbdev, fbdev:DEVICE, window, png:FOLDER or \
         spi:CHIP,dc=LINE (more: reset=LINE, device=FILE, mhz=NUMBER, bgr, invert)"
)]
pub struct NoSuchDisplay(String);

impl FromStr for DisplayChoice {
    type Err = NoSuchDisplay;

    fn from_str(text: &str) -> Result<Self, NoSuchDisplay> {
        let (kind, path) = match text.split_once(':') {
            Some((kind, path)) if !path.is_empty() => (kind, Some(Path::new(path))),
            Some(_) => return Err(NoSuchDisplay(text.to_owned())),
            None => (text, None),
        };
        if let ("spi", Some(_)) = (kind, path) {
            let panel = text["spi:".len()..].parse();
            return panel.map(Self::Spi).map_err(|()| NoSuchDisplay(text.to_owned()));
        }
        let or = |default: &'static str| path.unwrap_or(Path::new(default)).to_path_buf();
        match (kind, path) {
            ("drm", _) => Ok(Self::Drm(or(CARDS))),
            ("fbdev", _) => Ok(Self::Fbdev(or(FRAMEBUFFER))),
            ("window", None) => Ok(Self::Window),
            ("png", Some(folder)) => Ok(Self::Png(folder.to_path_buf())),
            _ => Err(NoSuchDisplay(text.to_owned())),
        }
    }
}

impl fmt::Display for DisplayChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drm(path) => write!(f, "drm:{}", path.display()),
            Self::Fbdev(path) => write!(f, "fbdev:{}", path.display()),
            Self::Window => write!(f, "window"),
            Self::Spi(panel) => write!(f, "spi:{panel}"),
            Self::Png(folder) => write!(f, "png:{}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_is_named_by_its_kind_and_place() {
        let cases = [
            ("drm", DisplayChoice::Drm("/dev/dri".into())),
            ("drm:/dev/dri/card1", DisplayChoice::Drm("/dev/dri/card1".into())),
            ("fbdev", DisplayChoice::Fbdev("/dev/fb0".into())),
            ("fbdev:/dev/fb1", DisplayChoice::Fbdev("/dev/fb1".into())),
            ("window", DisplayChoice::Window),
            (
                "spi:ili9486,dc=GPIO24",
                DisplayChoice::Spi("ili9486,dc=GPIO24".parse().expect("a panel")),
            ),
            ("png:a:b", DisplayChoice::Png("a:b".into())),
        ];
        for (text, choice) in cases {
            assert_eq!(text.parse(), Ok(choice.clone()), "{text}");
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
    }

    #[test]
    fn a_text_that_names_no_display_is_told_what_would() {
        for text in ["", "png", "png:", "drm:", "spi", "spi:ili9486", "window:1", "DRM", "hdmi"] {
            let error = text.parse::<DisplayChoice>().err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("png:FOLDER")), "{text}");
        }
    }
}

//! Tests of decoding: every kind against Pillow, every damage refused.

#![allow(clippy::unwrap_used)]

use glaucoma_tests::golden;
use image::{ExtendedColorType, ImageEncoder, Rgb};
use proptest::prelude::*;

use super::*;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(golden("common").join(name)).unwrap()
}

fn decoded(bytes: &[u8]) -> Result<Photo, PhotoError> {
    decode(bytes, &Limits::default())
}

fn png_of(pixels: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    let (width, height) = pixels.dimensions();
    encoder.write_image(pixels, width, height, ExtendedColorType::Rgb8).unwrap();
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), data].concat();
    [(data.len() as u32).to_be_bytes().as_slice(), &body, &crc(&body).to_be_bytes()].concat()
}

/// A PNG header that promises `width` x `height`, without pixels behind it.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let sizes = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = [sizes.as_slice(), &[8, 2, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".as_slice(), &chunk(b"IHDR", &header), &chunk(b"IEND", &[])].concat()
}

/// A TIFF block with the one entry "orientation".
fn exif_block(orientation: u8) -> Vec<u8> {
    let entry = [0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
    [b"MM\0\x2a\0\0\0\x08\0\x01".as_slice(), &entry, &[0; 4]].concat()
}

fn jpeg_with_exif(jpeg: &[u8], exif: &[u8]) -> Vec<u8> {
    let length = (exif.len() + 8) as u16;
    let head = [&[0xff, 0xd8, 0xff, 0xe1], length.to_be_bytes().as_slice()].concat();
    [head.as_slice(), b"Exif\0\0", exif, &jpeg[2..]].concat()
}

#[test]
fn every_kind_of_picture_agrees_with_pillow() {
    let truth: serde_json::Value = serde_json::from_slice(&file("pictures.json")).unwrap();
    let mut names = 0;
    for (name, expected) in truth["files"].as_object().unwrap() {
        if name == "cmyk.jpg" {
            continue;
        }
        names += 1;
        let pixels = decoded(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}")).pixels;
        assert_eq!(pixels.dimensions(), (160, 128), "{name}");
        // JPEG decoders may round differently and smooth colour differently.
        let tolerance = if name.ends_with("jpg") { 6.0 } else { 1.0 };
        for probe in expected["probes"].as_array().unwrap() {
            let at: Vec<f64> =
                probe.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let Rgb(found) = *pixels.get_pixel(at[0] as u32, at[1] as u32);
            for channel in 0..3 {
                let off = f64::from(found[channel]) - at[2 + channel];
                assert!(off.abs() <= tolerance, "{name} {probe}: {found:?}");
            }
        }
        for channel in 0..3 {
            let sum: f64 = pixels.pixels().map(|pixel| f64::from(pixel[channel])).sum();
            let off = sum / (160.0 * 128.0) - expected["mean"][channel].as_f64().unwrap();
            assert!(off.abs() < 0.6, "{name}: mean of channel {channel} is off by {off}");
        }
    }
    assert_eq!(names, 10);
}

#[test]
fn four_colour_jpeg_is_refused_by_name() {
    let error = decoded(&file("cmyk.jpg")).unwrap_err();
    assert!(matches!(&error, PhotoError::UnsupportedColours { colours } if colours == "CMYK"));
    assert!(error.to_string().contains("CMYK"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in ["baseline.jpg", "progressive.jpg", "rgb.png", "palette.png", "interlaced.png"] {
        let whole = file(name);
        assert!(decoded(&whole).is_ok(), "{name}");
        for length in 0..whole.len() {
            let found = decoded(&whole[..length]);
            assert!(found.is_err(), "{name} cut to {length} of {} bytes", whole.len());
            if length > 40 {
                let error = found.unwrap_err();
                assert!(matches!(error, PhotoError::Truncated { .. }), "{name} {length}: {error}");
            }
        }
    }
}

#[test]
fn a_jpeg_whose_last_part_is_lost_is_an_error() {
    for name in ["baseline.jpg", "progressive.jpg"] {
        let whole = file(name);
        for lost in [whole.len() / 4, whole.len() / 2] {
            let kept = &whole[..whole.len() - lost];
            // A memory card's unwritten blocks are zeros.
            let zeros = [kept, &vec![0; lost]].concat();
            let error = decoded(&zeros).unwrap_err();
            assert_eq!(error, PhotoError::Truncated { format: "JPEG" }, "{name} less {lost}");
            // Recovery tools put an end marker back.
            let ended = [kept, &[0xff, 0xd9]].concat();
            assert!(name != "baseline.jpg" || decoded(&ended).is_err(), "{name} less {lost}");
        }
    }
}

#[test]
fn bytes_behind_the_picture_do_no_harm() {
    for name in ["baseline.jpg", "progressive.jpg", "rgb.png"] {
        let longer = [file(name), b"maker's notes".to_vec()].concat();
        assert_eq!(decoded(&longer).unwrap().pixels, decoded(&file(name)).unwrap().pixels);
    }
}

#[test]
fn each_wrong_file_has_its_own_message() {
    assert_eq!(decoded(b"").unwrap_err(), PhotoError::Empty);
    assert_eq!(decoded(b"Dear colleague, ...").unwrap_err(), PhotoError::UnknownFormat);
    let one = png_of(&RgbImage::new(1, 1));
    assert_eq!(decoded(&one).unwrap_err(), PhotoError::TooSmall { width: 1, height: 1, min: 128 });
    let huge = PhotoError::TooLarge { width: 20_000, height: 20_000, max: 8192 };
    assert_eq!(decoded(&png_header(20_000, 20_000)).unwrap_err(), huge);
    assert_eq!(
        huge.to_string(),
        "the picture is 20000 x 20000 pixels; at most 8192 a side are accepted"
    );
    let limits = Limits { max_bytes: 100, ..Limits::default() };
    assert_eq!(
        decode(&file("rgb.png"), &limits).unwrap_err(),
        PhotoError::TooManyBytes { bytes: file("rgb.png").len(), max: 100 }
    );
    let narrow = Limits { max_side: 150, ..Limits::default() };
    assert!(matches!(
        decode(&file("baseline.jpg"), &narrow).unwrap_err(),
        PhotoError::TooLarge { width: 160, height: 128, max: 150 }
    ));
}

#[test]
fn a_jpeg_that_promises_too_much_is_refused_before_it_is_decoded() {
    let mut bytes = file("baseline.jpg");
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    assert_eq!(
        decoded(&bytes).unwrap_err(),
        PhotoError::TooLarge { width: 65_535, height: 65_535, max: 8192 }
    );
}

#[test]
fn exif_orientation_turns_the_picture_upright() {
    // A stored picture whose quarters are, in reading order, 0 1 / 2 3.
    let stored = RgbImage::from_fn(160, 128, |x, y| {
        let quarter = u8::from(x >= 80) + 2 * u8::from(y >= 64);
        Rgb([60 * quarter + 20; 3])
    });
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95);
    encoder.write_image(&stored, 160, 128, ExtendedColorType::Rgb8).unwrap();
    let png = png_of(&stored);
    // EXIF 2.32, tag 0x0112: which stored quarter is shown where, in reading order.
    let shown = [
        (1, [0, 1, 2, 3]),
        (2, [1, 0, 3, 2]),
        (3, [3, 2, 1, 0]),
        (4, [2, 3, 0, 1]),
        (5, [0, 2, 1, 3]),
        (6, [2, 0, 3, 1]),
        (7, [3, 1, 2, 0]),
        (8, [1, 3, 0, 2]),
    ];
    for (orientation, quarters) in shown {
        let exif = exif_block(orientation);
        // The PNG keeps its EXIF in a chunk behind the header (8 + 25 bytes).
        let png = [&png[..33], &chunk(b"eXIf", &exif), &png[33..]].concat();
        for bytes in [jpeg_with_exif(&jpeg, &exif), png] {
            let pixels = decoded(&bytes).unwrap().pixels;
            let (width, height) = pixels.dimensions();
            assert_eq!((width, height), if orientation < 5 { (160, 128) } else { (128, 160) });
            let found = [(1, 1), (3, 1), (1, 3), (3, 3)]
                .map(|(x, y)| pixels.get_pixel(x * width / 4, y * height / 4)[0] / 60);
            assert_eq!(found, quarters, "orientation {orientation}");
        }
    }
}

#[test]
fn unreadable_exif_says_nothing() {
    let plain = file("baseline.jpg");
    for exif in [exif_block(0), exif_block(9), b"MM\0\x2aXXXX".to_vec(), vec![]] {
        let pixels = decoded(&jpeg_with_exif(&plain, &exif)).unwrap().pixels;
        assert_eq!(pixels, decoded(&plain).unwrap().pixels);
    }
}

#[test]
fn the_hash_is_sha_256_in_hexadecimal() {
    // FIPS 180-4's example "abc".
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256_hex(b"abc"), expected);
    let bytes = file("rgb.png");
    assert_eq!(decoded(&bytes).unwrap().sha256, sha256_hex(&bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens to a file's bytes, decoding answers and does not panic.
    #[test]
    fn damaged_files_never_panic(
        which in 0usize..6,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let names =
            ["baseline.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "alpha.png", "interlaced.png"];
        let mut bytes = file(names[which]);
        for (index, value) in damage {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let small = Limits { max_side: 512, ..Limits::default() };
        let _ = decode(&bytes, &small);
    }
}

//! Our sender against our receiver, and senders that mean no good.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dicom_core::{DataElement, PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::reading::Laterality;
use glaucoma_exchange::intake::Status;
use glaucoma_exchange::intake::scp::Scp;
use glaucoma_exchange::outbox::scu::Scu;
use glaucoma_exchange::outbox::{Deliver, DeliverError};
use glaucoma_records::visit::Sex;

use crate::fixture::{Bench, PATIENCE, RETINA, bench, retina_file, until};

fn scp() -> Scp {
    let mut scp = Scp::bind("127.0.0.1:0".parse().unwrap(), "EDGE", &["CAMERA"]).unwrap();
    scp.message_time = Duration::from_secs(20);
    scp
}

fn listen(scp: Scp, capacity: usize) -> (Bench, Scu) {
    let address = scp.address().unwrap();
    (bench(scp, capacity, Duration::from_secs(2)), scu(address))
}

fn scu(address: SocketAddr) -> Scu {
    Scu {
        address: address.to_string(),
        calling: "CAMERA".into(),
        called: "EDGE".into(),
        time: PATIENCE,
    }
}

fn refused(status: &str) -> Result<String, DeliverError> {
    Err(DeliverError::Refused { reason: format!("DIMSE status {status}") })
}

fn said(scu: &Scu, file: &[u8]) -> Result<String, DeliverError> {
    scu.deliver(file).map(|receipt| receipt.said)
}

/// A DICOM file of the elements, with pixels that fit them.
fn object(transfer_syntax: &str, change: impl FnOnce(&mut InMemDicomObject)) -> Vec<u8> {
    let text = |tag, vr, text: &str| DataElement::new(tag, vr, dicom_value!(Str, text));
    let number = |tag, number: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(number));
    // Red, green and blue planes of 130 x 129 pixels.
    let planes =
        [200u8, 100, 50].iter().flat_map(|&level| vec![level; 130 * 129]).collect::<Vec<_>>();
    let mut object = InMemDicomObject::from_element_iter([
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        text(tags::SOP_CLASS_UID, VR::UI, uids::SECONDARY_CAPTURE_IMAGE_STORAGE),
        text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.77"),
        text(tags::PATIENT_NAME, VR::PN, "Devi^Asha"),
        text(tags::PATIENT_ID, VR::LO, "P-7"),
        text(tags::PATIENT_BIRTH_DATE, VR::DA, "19600229"),
        text(tags::PATIENT_SEX, VR::CS, "F"),
        text(tags::LATERALITY, VR::CS, "L"),
        text(tags::ACQUISITION_DATE, VR::DA, "20260501"),
        text(tags::ACQUISITION_TIME, VR::TM, "093100.25"),
        text(tags::BURNED_IN_ANNOTATION, VR::CS, "YES"),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB"),
        number(tags::SAMPLES_PER_PIXEL, 3),
        number(tags::PLANAR_CONFIGURATION, 1),
        number(tags::COLUMNS, 130),
        number(tags::ROWS, 129),
        number(tags::BITS_ALLOCATED, 8),
        DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(planes)),
    ]);
    change(&mut object);
    let meta = FileMetaTableBuilder::new().transfer_syntax(transfer_syntax);
    let mut bytes = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_jpeg_comes_through_byte_for_byte_and_once() {
    let (bench, scu) = listen(scp(), 4);
    assert_eq!(scu.echo().unwrap().said, "DIMSE status 0000");
    let file = retina_file();
    assert_eq!(said(&scu, &file.bytes).as_deref(), Ok("DIMSE status 0000"));
    let incoming = bench.next();
    assert_eq!(incoming.bytes, RETINA);
    assert_eq!(incoming.origin, "dicom:CAMERA");
    let hints = &incoming.hints;
    assert_eq!(hints.laterality, Some(Laterality::Right));
    assert_eq!(hints.person_name.as_deref(), Some("आशा देवी"));
    assert_eq!(hints.person_id.as_deref(), Some("CAMP/7|1"));
    assert_eq!((hints.sex, hints.burned_in), (Some(Sex::Female), Some(false)));
    assert_eq!(hints.taken_at.as_deref(), Some("2026-05-01T09:31:00"));
    assert_eq!(said(&scu, &file.bytes).as_deref(), Ok("DIMSE status 0000"), "again");
    bench.assert_quiet();
}

#[test]
fn uncompressed_pixels_come_through_as_they_are() {
    let (bench, scu) = listen(scp(), 4);
    for syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN] {
        // Another picture each time, or it would be known.
        let shade = if syntax == uids::EXPLICIT_VR_LITTLE_ENDIAN { 1u8 } else { 2 };
        let file = object(syntax, |object| {
            let mut planes = [200u8, 100, 50].map(|level| vec![level; 130 * 129]).concat();
            planes[0] = shade;
            object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::from(planes)));
        });
        assert_eq!(said(&scu, &file).as_deref(), Ok("DIMSE status 0000"), "{syntax}");
        let incoming = bench.next();
        let pixels = decode(&incoming.bytes, &Limits::default()).unwrap().pixels;
        assert_eq!(pixels.dimensions(), (130, 129));
        assert_eq!(pixels.get_pixel(0, 0).0, [shade, 100, 50]);
        assert!(pixels.pixels().skip(1).all(|pixel| pixel.0 == [200, 100, 50]));
        let hints = incoming.hints;
        assert_eq!(
            hints.laterality,
            Some(Laterality::Left),
            "(0020,0060) where (0020,0062) is not"
        );
        assert_eq!(hints.person_name.as_deref(), Some("Asha Devi"));
        assert_eq!(hints.birth_date.as_deref(), Some("1960-02-29"));
        assert_eq!(hints.taken_at.as_deref(), Some("2026-05-01T09:31:00"));
        assert_eq!(hints.burned_in, Some(true));
    }
}

#[test]
fn what_is_no_photograph_is_refused_and_the_next_is_taken() {
    let (bench, scu) = listen(scp(), 4);
    let number = |tag, number: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(number));
    let text = |tag, vr, text: &str| DataElement::new(tag, vr, dicom_value!(Str, text));
    let changed: [(&str, DataElement<InMemDicomObject>); 7] = [
        ("two frames", text(tags::NUMBER_OF_FRAMES, VR::IS, "2")),
        ("frames that are no number", text(tags::NUMBER_OF_FRAMES, VR::IS, "x")),
        ("more rows than pixels", number(tags::ROWS, 8000)),
        ("more rows than the limit", number(tags::ROWS, 8193)),
        ("16 bits", number(tags::BITS_ALLOCATED, 16)),
        ("no rows", number(tags::ROWS, 0)),
        ("uncompressed YBR", text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "YBR_FULL_422")),
    ];
    for (what, element) in changed {
        let file = object(uids::EXPLICIT_VR_LITTLE_ENDIAN, |object| _ = object.put(element));
        assert_eq!(said(&scu, &file), refused("C000"), "{what}");
    }
    let ct = object(uids::EXPLICIT_VR_LITTLE_ENDIAN, |object| {
        object.put(text(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE));
    });
    assert!(matches!(scu.deliver(&ct), Err(DeliverError::Refused { .. })), "a CT");
    assert!(matches!(scu.deliver(RETINA), Err(DeliverError::Refused { .. })), "no DICOM");
    bench.assert_quiet();
    assert!(scu.deliver(&retina_file().bytes).is_ok());
    assert_eq!(bench.next().bytes, RETINA);
}

#[test]
fn when_the_exams_are_behind_it_says_out_of_resources() {
    let (bench, scu) = listen(scp(), 1);
    assert!(scu.deliver(&retina_file().bytes).is_ok());
    let second = object(uids::EXPLICIT_VR_LITTLE_ENDIAN, |_| ());
    let busy = Err(DeliverError::Later { reason: "DIMSE status A700".into(), after: None });
    assert_eq!(said(&scu, &second), busy);
    assert_eq!(bench.kept().len(), 2, "of the second nothing is kept");
    bench.next().settle().unwrap();
    assert!(scu.deliver(&second).is_ok());
    bench.next();
}

#[test]
fn an_object_above_the_limit_is_answered_and_not_kept() {
    let mut scp = scp();
    scp.max_object = 40_000;
    let (bench, scu) = listen(scp, 1);
    let large = object(uids::EXPLICIT_VR_LITTLE_ENDIAN, |_| ());
    assert!(matches!(scu.deliver(&large), Err(DeliverError::Later { .. })));
    assert_eq!(scu.echo().unwrap().said, "DIMSE status 0000");
    assert_eq!(bench.kept(), Vec::<String>::new());
}

#[test]
fn strangers_are_rejected() {
    let (_bench, known) = listen(scp(), 1);
    for (calling, called) in [("STRANGER", "EDGE"), ("CAMERA", "OTHER")] {
        let scu = Scu { calling: calling.into(), called: called.into(), ..known.clone() };
        match scu.echo() {
            Err(DeliverError::Later { reason, .. }) => {
                assert!(reason.contains("AE title"), "{reason}")
            }
            other => panic!("{calling} to {called}: {other:?}"),
        }
    }
    assert!(known.echo().is_ok());
}

#[test]
fn silence_is_offline_and_an_echo_ends_it() {
    let scp = scp();
    let address = scp.address().unwrap();
    let bench = bench(scp, 1, Duration::from_millis(300));
    assert_eq!(bench.running.status(Instant::now()), Status::Offline);
    scu(address).echo().unwrap();
    let now = Instant::now();
    assert_eq!(bench.running.status(now), Status::Online);
    assert_eq!(bench.running.status(now + Duration::from_millis(301)), Status::Offline);
}

/// Whether the peer ends the connection before the test loses patience; reads what it still says.
fn is_cut_off(mut socket: TcpStream) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    match socket.read_to_end(&mut said) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn garbage_oversize_halves_and_dribbles_are_cut_off() {
    let mut scp = scp();
    scp.message_time = Duration::from_millis(700);
    let (bench, scu) = listen(scp, 4);
    let connect = || TcpStream::connect(&scu.address).unwrap();
    let send = |bytes: &[u8]| {
        let mut socket = connect();
        // It may be cut off while it still speaks.
        let _ = socket.write_all(bytes);
        socket
    };
    assert!(is_cut_off(send(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n")), "another protocol");
    assert!(is_cut_off(send(&[0xff; 4096])), "garbage");
    // An association request of 4 GiB, and one that is only begun.
    assert!(is_cut_off(send(&[1, 0, 0xff, 0xff, 0xff, 0xff, 0, 1])), "oversized PDU");
    assert!(is_cut_off(send(&[1, 0, 0, 0, 0, 200, 0, 1])), "half a PDU");
    assert!(is_cut_off(connect()), "silence");
    // A byte every 50 ms keeps every read alive and never gets anywhere.
    let mut dribble = connect();
    let begin = Instant::now();
    let mut cut_off = false;
    while begin.elapsed() < PATIENCE && !cut_off {
        std::thread::sleep(Duration::from_millis(50));
        cut_off = dribble.write_all(&[1]).and_then(|()| dribble.flush()).is_err();
    }
    assert!(cut_off, "slowloris");
    assert!(scu.echo().is_ok(), "and others are served");
    assert!(!bench.running.ended());
    assert_eq!(bench.kept(), Vec::<String>::new());
}

#[test]
fn pdus_that_lie_do_not_stop_the_receiver() {
    let (bench, scu) = listen(scp(), 4);
    // A true association request with each of its bytes changed in turn.
    let request = association_request();
    for at in 6..request.len() {
        let mut changed = request.clone();
        changed[at] ^= 0xff;
        let mut socket = TcpStream::connect(&scu.address).unwrap();
        let _ = socket.write_all(&changed);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        assert!(is_cut_off(socket), "byte {at}");
    }
    assert!(scu.echo().is_ok());
    assert!(!bench.running.ended());
}

fn association_request() -> Vec<u8> {
    let ours = dicom_ul::pdu::AssociationRQ {
        protocol_version: 1,
        calling_ae_title: "CAMERA".into(),
        called_ae_title: "EDGE".into(),
        application_context_name: "1.2.840.10008.3.1.1.1".into(),
        presentation_contexts: vec![dicom_ul::pdu::PresentationContextProposed {
            id: 1,
            abstract_syntax: uids::VERIFICATION.into(),
            transfer_syntaxes: vec![uids::IMPLICIT_VR_LITTLE_ENDIAN.into()],
        }],
        user_variables: vec![dicom_ul::pdu::UserVariableItem::MaxLength(16384)],
    };
    let mut bytes = Vec::new();
    dicom_ul::pdu::write_pdu(&mut bytes, &ours.into()).unwrap();
    bytes
}

#[test]
fn one_sender_too_many_is_told_to_come_back() {
    let mut scp = scp();
    scp.max_associations = 2;
    let (bench, scu) = listen(scp, 1);
    let held = [(); 2].map(|()| TcpStream::connect(&scu.address).unwrap());
    until(
        "the third is rejected",
        || matches!(scu.echo(), Err(DeliverError::Later { reason, .. }) if reason.contains("limit")),
    );
    drop(held);
    until("there is room again", || scu.echo().is_ok());
    assert!(!bench.running.ended());
}

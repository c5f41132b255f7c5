//! One visit's files.

use glaucoma_common::photo::sha256_hex;
use glaucoma_exchange::dicom::{self, DicomError, DicomFile, Subject};
use glaucoma_exchange::fhir;
use glaucoma_exchange::identity::Identity as Name;
use glaucoma_kiosk::display::png;
use glaucoma_kiosk::picture::EyePicture;
use glaucoma_kiosk::screens::report::{Report, card, drawn};
use glaucoma_kiosk::text::Typesetter;
use glaucoma_kiosk::words::Key;
use glaucoma_records::decide::speaks_for;
use glaucoma_records::export::Identity;
use glaucoma_records::journal::{JournalError, Reader, Recorded};
use glaucoma_records::visit::{EyeExam, Visit};
use image::codecs::png::CompressionType;

use super::page;
use super::{Format, Out, ReportsError, What, pdf};

/// What is needed to write any visit.
pub(super) struct Writer<'a> {
    pub reader: &'a Reader,
    pub what: &'a What<'a>,
    pub head: [u8; 32],
    pub setter: Typesetter,
}

impl Writer<'_> {
    /// Writes the visit's files into `out`; one that never got to a photograph nor a decision has none.
    pub fn write(&self, recorded: &Recorded, out: &mut Out) -> Result<(), ReportsError> {
        let visit = &recorded.visit;
        let wants = |format| self.what.formats.contains(&format);
        let name = match self.what.identity {
            Identity::Kept => Name::Own,
            Identity::Removed => Name::Pseudonym(&recorded.pseudonym),
        };
        if wants(Format::Fhir) && !visit.exams.is_empty() {
            self.fhir(recorded, name, out)?;
        }
        if wants(Format::Dicom) || wants(Format::Pdf) || wants(Format::Png) {
            let mut shown = [None, None];
            for exam in &visit.exams {
                self.exam(visit, exam, name, &mut shown, out)?;
            }
            if !visit.exams.is_empty() || visit.decision.is_some() {
                self.report(recorded, name, &shown, out)?;
            }
        }
        Ok(())
    }

    fn fhir(&self, recorded: &Recorded, name: Name, out: &mut Out) -> Result<(), ReportsError> {
        let Recorded { visit, closed_at, .. } = recorded;
        let file = format!("fhir/{}.json", name.appears(&visit.uid).0);
        match fhir::bundle(visit, closed_at.is_some(), self.what.programme, name) {
            Ok(bundle) => match serde_json::to_vec_pretty(&bundle) {
                Ok(bytes) => out.write(&file, &bytes)?,
                Err(error) => out.problem(&file, &error),
            },
            Err(error) => out.problem(&file, &error),
        }
        Ok(())
    }

    /// Takes an exam's photograph out of the journal: into DICOM, and where it speaks for its eye into `shown`.
    fn exam(
        &self,
        visit: &Visit,
        exam: &EyeExam,
        name: Name,
        shown: &mut [Option<EyePicture>; 2],
        out: &mut Out,
    ) -> Result<(), ReportsError> {
        let speaks = speaks_for(visit, exam.eye).is_some_and(|it| it.uid == exam.uid);
        let dicom = self.what.formats.contains(&Format::Dicom);
        if !dicom && !speaks {
            return Ok(());
        }
        let burned_in = exam.burned_in.or(self.what.vouched.then_some(false));
        if !name.is_own() && burned_in != Some(false) {
            out.done.withheld += 1;
            return Ok(());
        }
        let file = match dicom {
            true => format!("dicom/{}.dcm", name.appears(&exam.uid).0),
            false => format!("reports/{}", name.appears(&visit.uid).0),
        };
        let photograph = match self.reader.photograph(&exam.uid) {
            Ok(photograph) => photograph,
            Err(error @ JournalError::Locked) => return Err(error.into()),
            // Deleted after its delivery, or damaged: the others are not.
            Err(error) => {
                out.problem(&file, &error);
                return Ok(());
            }
        };
        if sha256_hex(&photograph) != exam.photograph_sha256 {
            out.problem(&file, &"the photograph is another than the exam's");
            return Ok(());
        }
        out.done.burned_in += u32::from(burned_in == Some(true));
        let subject = Subject {
            visit,
            exam,
            station: &self.what.programme.station,
            identity: name,
            burned_in,
        };
        if dicom {
            written(dicom::photograph(&subject, &photograph), &file, out)?;
        }
        if speaks {
            let bundle = self.what.bundle;
            let picture = page::picture(exam, &photograph, bundle);
            let outlines = bundle.is_some_and(|bundle| page::draws(bundle, exam));
            out.done.without_outlines += u32::from(page::is_graded(exam) && !outlines);
            if dicom {
                let page = card(exam, picture.as_ref(), self.what.language);
                let drawn = drawn(&page, &self.setter).to_image();
                written(dicom::result(&subject, drawn), &file, out)?;
            }
            shown[exam.eye as usize] = picture;
        }
        Ok(())
    }

    fn report(
        &self,
        recorded: &Recorded,
        name: Name,
        pictures: &[Option<EyePicture>; 2],
        out: &mut Out,
    ) -> Result<(), ReportsError> {
        let visit = self.what.identity.of(recorded);
        let report = Report { visit: &visit, pictures, audit_head: self.head };
        let file = |ending| format!("reports/{}.{ending}", name.appears(&recorded.visit.uid).0);
        let wants = |format| self.what.formats.contains(&format);
        if !wants(Format::Png) && !wants(Format::Pdf) {
            return Ok(());
        }
        let language = self.what.language;
        let page = report.page(language);
        let frame = drawn(&page, &self.setter);
        if wants(Format::Png) {
            match png(&frame.to_image(), CompressionType::Default) {
                Ok(bytes) => out.write(&file("png"), &bytes)?,
                Err(error) => out.problem(&file("png"), &error),
            }
        }
        if wants(Format::Pdf) {
            let title = language.text(Key::Report);
            match pdf::write(&page, &frame, title, language.code()) {
                Ok(bytes) => out.write(&file("pdf"), &bytes)?,
                Err(error) => out.problem(&file("pdf"), &error),
            }
        }
        Ok(())
    }
}

/// Writes an object under its own UID, or tells that `of` could not be made.
fn written(
    made: Result<DicomFile, DicomError>,
    of: &str,
    out: &mut Out,
) -> Result<(), ReportsError> {
    match made {
        Ok(object) => out.write(&format!("dicom/{}.dcm", object.instance.0), &object.bytes),
        Err(error) => {
            out.problem(of, &error);
            Ok(())
        }
    }
}

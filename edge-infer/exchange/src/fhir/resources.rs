//! The few FHIR R4 resources that are written, with the few elements that are filled.

use serde::Serialize;

/// A transaction (<https://hl7.org/fhir/R4/bundle.html>).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    pub(super) resource_type: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) entry: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub full_url: String,
    pub resource: Resource,
    pub request: Request,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub method: &'static str,
    pub url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_none_exist: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "resourceType")]
pub(super) enum Resource {
    Patient(Patient),
    Device(Device),
    ImagingStudy(ImagingStudy),
    Observation(Box<Observation>),
    DiagnosticReport(Box<DiagnosticReport>),
    ServiceRequest(Box<ServiceRequest>),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Patient {
    pub identifier: Vec<Identifier>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name: Vec<HumanName>,
    pub gender: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct HumanName {
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Device {
    pub identifier: Vec<Identifier>,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    pub device_name: Vec<DeviceName>,
    pub version: Vec<Version>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct DeviceName {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Version {
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImagingStudy {
    pub identifier: Vec<Identifier>,
    pub status: &'static str,
    pub modality: Vec<Coding>,
    pub subject: Reference,
    pub started: String,
    pub number_of_series: usize,
    pub number_of_instances: usize,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Series {
    pub uid: String,
    pub number: u32,
    pub modality: Coding,
    pub number_of_instances: usize,
    pub instance: Vec<Instance>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub uid: String,
    pub sop_class: Coding,
    pub number: usize,
    pub title: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Observation {
    pub identifier: Vec<Identifier>,
    pub status: &'static str,
    pub category: Vec<CodeableConcept>,
    pub code: CodeableConcept,
    pub subject: Reference,
    pub effective_date_time: String,
    #[serde(flatten)]
    pub value: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interpretation: Vec<CodeableConcept>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub note: Vec<Annotation>,
    pub body_site: CodeableConcept,
    pub method: CodeableConcept,
    pub device: Reference,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub component: Vec<Component>,
    pub derived_from: Vec<Reference>,
}

/// `value[x]`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Value {
    #[serde(rename = "valueQuantity")]
    Quantity(Quantity),
    #[serde(rename = "valueBoolean")]
    Boolean(bool),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Quantity {
    pub value: f64,
    pub system: &'static str,
    pub code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Component {
    pub code: CodeableConcept,
    #[serde(flatten)]
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiagnosticReport {
    pub identifier: Vec<Identifier>,
    pub status: &'static str,
    pub category: Vec<CodeableConcept>,
    pub code: CodeableConcept,
    pub subject: Reference,
    pub effective_date_time: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub performer: Vec<Reference>,
    pub result: Vec<Reference>,
    pub imaging_study: Vec<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conclusion_code: Vec<CodeableConcept>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServiceRequest {
    pub identifier: Vec<Identifier>,
    pub status: &'static str,
    pub intent: &'static str,
    pub code: CodeableConcept,
    pub subject: Reference,
    pub authored_on: String,
    pub reason_code: Vec<CodeableConcept>,
    pub reason_reference: Vec<Reference>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Identifier {
    pub system: String,
    pub value: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Reference {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct CodeableConcept {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub coding: Vec<Coding>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Coding {
    pub system: &'static str,
    pub code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Annotation {
    pub text: String,
}

#!/bin/sh
# The exchange against real peers: DCMTK's storescu and echoscu send to us, we send to Orthanc by C-STORE and STOW-RS,
# fhir.resources validates the bundle. Loopback only; everything in a temporary folder.
#
#   apt-get install orthanc orthanc-dicomweb dcmtk curl     # Debian
#   pip install fhir.resources                              # PYTHON=python3 names the interpreter
#   edge-infer/exchange/tests/interop/orthanc.sh [PEER]     # PEER: the built example, else cargo builds it
set -eu
root=$(cd "$(dirname "$0")/../../../.." && pwd)
here=$(cd "$(dirname "$0")" && pwd)
for program in Orthanc storescu echoscu dcmdump dcmftest curl; do
    if ! command -v "$program" >/dev/null; then
        echo "SKIPPED: $program is not installed"
        exit 0
    fi
done
peer=${1:-}
if [ -z "$peer" ]; then
    (cd "$root" && cargo build --release -p glaucoma-exchange --example peer)
    peer=$root/target/release/examples/peer
fi
work=$(mktemp -d)
orthanc=
receiver=
finish() {
    for process in $orthanc $receiver; do
        kill "$process" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
photograph=$root/tests/data/retina.jpg
http=18042 dimse=14242 ours=11112

# What is compared: the data set's listing, without the file's own meta group, comments and, where an element
# is its length in one encoding and undefined in another, lengths.
listing() {
    dcmdump +L -q "$1" | grep '^(\|^ *(' | grep -v '^(0002,' | sed 's/ *#.*//; s/(Sequence with.*/(sequence)/; s/(Item with.*/(item)/; s/DelimitationItem.*/Delimitation/'
}

echo "== what we write"
"$peer" make "$photograph" "$work"
for file in photograph result deidentified; do
    dcmftest "$work/$file.dcm" || fail "dcmftest $file"
    dcmdump -q "$work/$file.dcm" >/dev/null || fail "dcmdump $file"
done

echo "== DCMTK to us"
mkdir "$work/received"
"$peer" receive $ours EDGE CAMERA "$work/received" 1 >"$work/receive.log" &
receiver=$!
for _ in $(seq 100); do
    grep -q listening "$work/receive.log" && break
    sleep 0.1
done
echoscu -aet CAMERA -aec EDGE 127.0.0.1 $ours || fail "C-ECHO to us"
echo "C-ECHO accepted"
if echoscu -aet STRANGER -aec EDGE 127.0.0.1 $ours 2>/dev/null; then fail "a stranger was let in"; fi
echo "C-ECHO of a stranger rejected"
storescu -xy -aet CAMERA -aec EDGE 127.0.0.1 $ours "$work/photograph.dcm" || fail "C-STORE to us"
wait $receiver || fail "the receiver"
receiver=
cmp "$work/received/received-1" "$photograph" || fail "the JPEG changed on its way"
echo "C-STORE accepted; the JPEG is the same byte for byte"

echo "== us to Orthanc"
cat >"$work/orthanc.json" <<CONFIG
{
  "Name": "PACS", "StorageDirectory": "$work/store", "IndexDirectory": "$work/store",
  "HttpPort": $http, "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
  "DicomAet": "PACS", "DicomPort": $dimse, "DicomCheckCalledAet": true, "DicomAlwaysAllowStore": false,
  "DicomModalities": { "edge": ["EDGE", "127.0.0.1", $ours] }, "DefaultEncoding": "Utf8",
  "Plugins": ["/usr/share/orthanc/plugins"], "DicomWeb": { "Enable": true, "Root": "/dicom-web/" }
}
CONFIG
Orthanc "$work/orthanc.json" >"$work/orthanc.log" 2>&1 &
orthanc=$!
base=http://127.0.0.1:$http
for _ in $(seq 300); do
    curl -sf "$base/system" >"$work/system" && break
    sleep 0.1
done
echo "Orthanc $(sed -n 's/.*"Version" : "\(.*\)".*/\1/p' "$work/system"), $(dcmdump --version | sed -n 's/^\$dcmtk: dcmdump \(v[0-9.]*\).*/DCMTK \1/p')"
instances() { curl -sf "$base/instances" | tr -cd '"' | wc -c | awk '{print $1 / 2}'; }
"$peer" echo 127.0.0.1:$dimse EDGE PACS
"$peer" store 127.0.0.1:$dimse EDGE PACS "$work/photograph.dcm"
"$peer" store 127.0.0.1:$dimse EDGE PACS "$work/photograph.dcm"
[ "$(instances)" = 1 ] || fail "C-STORE twice: $(instances) instances"
echo "C-STORE twice: 1 instance"
id=$(curl -sf "$base/instances" | tr -cd 'a-f0-9-')
curl -sf "$base/instances/$id/file" >"$work/back.dcm"
listing "$work/photograph.dcm" >"$work/a"
listing "$work/back.dcm" >"$work/b"
diff "$work/a" "$work/b" || fail "Orthanc has another object"
echo "the object as Orthanc has it: listing equal ($(wc -l <"$work/a") lines)"
"$peer" stow $base/dicom-web "$work/photograph.dcm"
"$peer" stow $base/dicom-web "$work/result.dcm"
"$peer" stow $base/dicom-web "$work/result.dcm"
[ "$(instances)" = 2 ] || fail "STOW-RS: $(instances) instances instead of 2"
echo "STOW-RS of the same photograph, and of the result twice: 2 instances"
curl -sf -H 'accept: application/dicom+json' \
    "$base/dicom-web/studies/2.25.7000/instances?includefield=00200062" >"$work/qido.json"
found=$(grep -o '"2\.25\.7001"' "$work/qido.json" | wc -l)
[ "$found" -ge 1 ] || fail "QIDO-RS does not find the photograph"
echo "QIDO-RS finds the study's $(grep -o '"00080018"' "$work/qido.json" | wc -l) instances"
curl -sf "$base/instances/$id/preview" >"$work/preview.png" || fail "Orthanc cannot show the photograph"
echo "Orthanc shows the photograph ($(wc -c <"$work/preview.png") bytes of PNG)"

echo "== FHIR"
python=${PYTHON:-python3}
if "$python" -c 'import fhir.resources' 2>/dev/null; then
    "$python" "$here/fhir_validate.py" "$work/visit.json" "$work/deidentified.json" || fail "FHIR"
else
    echo "SKIPPED: $python has no fhir.resources"
fi
echo "all held"

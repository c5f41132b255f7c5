#!/bin/sh
# Cuts Debian's Noto fonts (package fonts-noto-core, version in README.md) down to what the screens use.
# Usage: subset.sh FOLDER_OF_THE_NOTO_FONTS   (needs pyftsubset of fontTools on the PATH)
set -eu
from=$1
to=$(dirname "$0")
latin="U+0020-007E,U+00A0-00FF,U+0131,U+0152-0153,U+2013,U+2014,U+2018-201D,U+2022,U+2026,U+2032,U+20AC,U+2122,U+2192,U+2212,U+2248,U+2264,U+2265"
# Digits and punctuation come along, so that a number inside a sentence keeps the sentence's font.
common="U+0020-0040,U+00A0,U+200C-200F"
signs="$common,U+2013,U+2014,U+2018-201D,U+2026,U+25CC"
for weight in Regular Bold; do
    pyftsubset "$from/NotoSans-$weight.ttf" --no-hinting --layout-features=kern,liga \
        --unicodes="$latin" --output-file="$to/NotoSans-$weight-Latin.ttf"
    pyftsubset "$from/NotoSansDevanagari-$weight.ttf" --no-hinting --layout-features='*' \
        --unicodes="$signs,U+00B7,U+0900-097F,U+20B9" --output-file="$to/NotoSansDevanagari-$weight.ttf"
    pyftsubset "$from/NotoSansArabic-$weight.ttf" --no-hinting --layout-features='*' \
        --unicodes="$signs,U+0600-06FF" --output-file="$to/NotoSansArabic-$weight.ttf"
    pyftsubset "$from/NotoSansEthiopic-$weight.ttf" --no-hinting --layout-features='*' \
        --unicodes="$common,U+1200-137F" --output-file="$to/NotoSansEthiopic-$weight.ttf"
done

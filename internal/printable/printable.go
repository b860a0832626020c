// Package printable keeps texts of strangers from being taken for orders: by terminals, browsers, and readers of lines.
package printable

import (
	"strings"
	"unicode"
)

// Text replaces what would not be printed as it is with question marks: control characters and so line ends and escape sequences,
// signs that change the direction of the text, and what is not UTF-8.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

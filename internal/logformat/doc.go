// Package logformat reads HAProxy's `log-format` (its configuration manual, section 8.2.4): text, and variables such as %ci or
// %{+Q}b. It knows the variables' names, and nothing of where their values come from.
//
// The rules of quoting and of blanks are those that HAProxy 2.6.12 was seen to follow. What HAProxy ignores, such as a flag that
// it does not know, is an error here.
package logformat

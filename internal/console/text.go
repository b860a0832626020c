package console

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// table writes columns. What servers and clients have sent is in it, so that a cell has no control characters.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, titles ...any) table {
	t := table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(titles...)
	return t
}

func (t table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			_, _ = io.WriteString(t.w, "\t")
		}
		_, _ = io.WriteString(t.w, safe(fmt.Sprint(c)))
	}
	_, _ = io.WriteString(t.w, "\n")
}

func (t table) end() error { return ignoreClosed(t.w.Flush()) }

// safe replaces what a terminal could take for an order.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// writeJSON writes what an answer has, for a person and for jq alike.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return ignoreClosed(e.Encode(v))
}

// ignoreClosed returns no error if nobody reads any more.
func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

// span writes a time in the two largest units.
func span(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case d < time.Second:
		return d.String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

// size writes a number of octets.
func size(n uint64) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	v := float64(n)
	for _, unit := range []string{"k", "M", "G", "T"} {
		if v /= 1000; v < 1000 || unit == "T" {
			return fmt.Sprintf("%.1f%s", v, unit)
		}
	}
	return ""
}

package top

import (
	"fmt"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

// TestScreens: what the screen shows in each size is in testdata.
func TestScreens(t *testing.T) {
	for _, c := range []struct {
		width, height int
		ascii         bool
		name          string
		keys          []string
	}{
		{80, 24, false, "servers", nil},
		{80, 24, true, "ascii", nil},
		{80, 24, false, "talkers", []string{"2", "down", "down"}},
		{80, 24, false, "networks", []string{"2", "n", "s", "s"}},
		{80, 24, false, "connections", []string{"3", "s", "S"}},
		{80, 24, false, "verdicts", []string{"4"}},
		{80, 24, false, "frontends", []string{"5"}},
		{80, 24, false, "limits", []string{"6", "s"}},
		{80, 24, false, "filtered", []string{"3", "f", "s", "p", "l", "i", "enter"}},
		{80, 24, false, "filtering", []string{"3", "f", "1", "9", "8"}},
		{80, 24, false, "help", []string{"?"}},
		{80, 24, false, "examined", []string{"4", "enter"}},
		{80, 24, false, "confirm", []string{"3", "end", "k"}},
		{132, 43, false, "servers", nil},
		{132, 43, false, "verdicts", []string{"4"}},
		{200, 80, false, "servers", nil},
		{40, 10, false, "servers", nil},
		{40, 10, false, "connections", []string{"3", "down"}},
		{60, 20, false, "talkers", []string{"2"}},
	} {
		name := fmt.Sprintf("%dx%d-%s", c.width, c.height, c.name)
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.width, c.height)
			r.model.options.Dress.Plain, r.model.options.Dress.ASCII = true, c.ascii
			r.busy()
			r.keys(c.keys...)
			golden(t, name+".txt", r.model.text()+"\n")
			fits(t, r)
		})
	}
}

// fits checks that the screen is exactly as large as the terminal.
func fits(t *testing.T, r *rig) {
	t.Helper()
	lines := strings.Split(r.model.text(), "\n")
	if len(lines) != r.model.height {
		t.Errorf("%d lines on a terminal of %d", len(lines), r.model.height)
	}
	for _, l := range lines {
		if w := ansi.StringWidth(l); w > r.model.width {
			t.Errorf("%d columns on a terminal of %d: %q", w, r.model.width, l)
		}
	}
}

// TestEverySize: no size of the terminal breaks the screen, whatever is shown.
func TestEverySize(t *testing.T) {
	r := newRig(t, 80, 24)
	r.busy()
	for _, keys := range [][]string{nil, {"2"}, {"3"}, {"4"}, {"5"}, {"f"}, {"?"}, {"esc", "3", "k"}, {"n", "enter"}} {
		r.keys(keys...)
		for _, w := range []int{0, 1, 19, 20, 33, 40, 61, 79, 80, 133, 300} {
			for _, h := range []int{0, 1, 3, 4, 5, 9, 15, 16, 17, 25, 40, 99} {
				r.model.width, r.model.height = w, h
				if h > 0 {
					fits(t, r)
				}
			}
		}
		r.model.width, r.model.height = 80, 24
	}
}

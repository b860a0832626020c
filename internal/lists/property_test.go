package lists

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// statement is one line of a CIDR table as the naive search reads it.
type statement struct {
	kind   string // "if", "endif", "" for a rule
	not    bool
	prefix netip.Prefix
}

func (s statement) String() string {
	not := map[bool]string{true: "!"}[s.not]
	switch s.kind {
	case "if":
		return fmt.Sprintf("if %s%s", not, s.prefix)
	case "endif":
		return "endif"
	}
	return fmt.Sprintf("%s%s reject", not, s.prefix)
}

// naive returns the line of the first rule that matches a, 0 if none does: line by line, as cidr_table(5) describes it.
func naive(all []statement, a netip.Addr) int {
	skipping := 0 // how many blocks deep within one that does not match
	for i, s := range all {
		matches := s.kind != "endif" && s.prefix.Addr().Is4() == a.Is4() && s.prefix.Contains(a) != s.not
		switch {
		case s.kind == "if" && (skipping > 0 || !matches):
			skipping++
		case s.kind == "endif" && skipping > 0:
			skipping--
		case s.kind == "" && skipping == 0 && matches:
			return i + 1
		}
	}
	return 0
}

// tableOf makes a table of a few networks that overlap. Pick returns a number below n.
func tableOf(pick func(n int) int) (all []statement) {
	open := 0
	for range 1 + pick(12) {
		s := statement{kind: []string{"", "", "", "", "if", "endif"}[pick(6)], not: pick(3) == 0, prefix: prefixOf(pick)}
		switch {
		case s.kind == "endif" && open == 0:
			continue
		case s.kind == "endif":
			open--
		case s.kind == "if":
			open++
		}
		all = append(all, s)
	}
	for range open {
		all = append(all, statement{kind: "endif"})
	}
	return all
}

// addresses are those that tables are asked for: each differs from the others in the bits where prefixes end.
func addresses() (all []netip.Addr) {
	for i := range 32 {
		all = append(all, netip.AddrFrom4([4]byte{byte(i&1) << 7, 0, 0, byte(i>>1) & 15}))
		v6 := [16]byte{0: byte(i&1) << 7, 15: byte(i>>1) & 15}
		v6[1] = 1 // no IPv4-mapped address, nor ::
		all = append(all, netip.AddrFrom16(v6))
	}
	return all
}

func prefixOf(pick func(n int) int) netip.Prefix {
	all := addresses()
	a := all[pick(len(all))]
	bits := a.BitLen() - pick(6)
	if pick(4) == 0 {
		bits = pick(3)
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func textOf(all []statement) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// TestFirstMatchWins: the table answers as a search from the first line to the last does.
func TestFirstMatchWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := tableOf(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "") })
		table, err := Parse("f", []byte(textOf(all)), Postfix, Limits{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, textOf(all))
		}
		for _, a := range addresses() {
			got := 0
			if i, ok := table.Lookup(a); ok {
				got = table.Entry(i).Line
			}
			if want := naive(all, a); got != want {
				t.Fatalf("%s: line %d, want %d, in\n%s", a, got, want, textOf(all))
			}
		}
	})
}

// TestPostfixAgrees: Postfix's own postmap finds the same lines in the same tables.
func TestPostfixAgrees(t *testing.T) {
	postmap, err := exec.LookPath("postmap")
	if err != nil {
		if postmap, err = exec.LookPath("/usr/sbin/postmap"); err != nil {
			if os.Getenv("HUSHGATE_LAB") == "1" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	random := rand.New(rand.NewPCG(12, 2))
	for n := range 25 {
		text := strings.Split(strings.TrimSpace(textOf(tableOf(random.IntN))), "\n")
		for i, s := range text {
			if n%2 == 1 {
				s = strings.Replace(s, "! ", "!  ", 1) + "\n# comment\n"
			}
			text[i] = strings.Replace(s, " reject", fmt.Sprintf(" reject line%d", i), 1)
		}
		compare(t, postmap, strings.Join(text, "\n")+"\n")
	}
	compare(t, postmap, "[2001:0db8:0::]/32 reject a\n[8000:100::/32]\n  reject b\n\n # c\n  d\nIF!128.0.0.0/08\n!!0.0.0.3 reject e\n! !0.0.0.4 \t reject f\t\nENDIF \n")
}

// compare asks postmap and a table for the same addresses.
func compare(t *testing.T, postmap, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := Read(path, Postfix, Limits{})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	var ours, asked bytes.Buffer
	for _, a := range addresses() {
		fmt.Fprintln(&asked, a)
		if i, ok := table.Lookup(a); ok {
			fmt.Fprintf(&ours, "%s\t%s\n", a, strings.Replace(table.Entry(i).Reply, "554 5.7.1", "reject", 1))
		}
	}
	command := exec.Command(postmap, "-q", "-", "cidr:"+path)
	command.Stdin = &asked
	var complaint bytes.Buffer
	command.Stderr = &complaint
	theirs, err := command.Output()
	if err != nil && len(theirs) > 0 || complaint.Len() > 0 { // it exits with 1 when nothing matches
		t.Fatalf("postmap: %v: %s in\n%s", err, complaint.String(), text)
	}
	if ours.String() != string(theirs) {
		t.Errorf("we say\n%s\npostmap says\n%s\nin\n%s", ours.String(), theirs, text)
	}
}

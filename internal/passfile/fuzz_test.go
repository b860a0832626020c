package passfile

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hushgate/internal/policy"
)

// FuzzDecode reads files of any contents whose checksum is right. What is taken has sensible values, and is the same after it
// was saved again.
func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, some()))
	f.Add(encoded(f, Contents{}))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = decode(text, noon) // with a checksum that is most likely wrong
		if len(text) >= sha256.Size {
			text = text[:len(text)-sha256.Size]
		}
		sum := sha256.Sum256(text)
		s, err := decode(append(text, sum[:]...), noon)
		if err != nil {
			return
		}
		passes, offenders := slices.Collect(s.Passes()), slices.Collect(s.Offenders())
		for _, p := range passes {
			checkClient(t, p.Addr.Is4(), p.Bits)
			checkTime(t, p.Age)
		}
		for _, o := range offenders {
			checkClient(t, o.Addr.Is4(), o.Bits)
			for _, d := range append(o.Ages, o.Left) {
				checkTime(t, d)
			}
		}
		s.since = 0 // what is older than can be saved would not come back as it is
		passes, offenders = slices.Collect(s.Passes()), slices.Collect(s.Offenders())
		var b bytes.Buffer
		if err := encode(&b, Contents{slices.Values(passes), slices.Values(offenders)}, noon); err != nil {
			t.Fatal(err)
		}
		again, err := decode(b.Bytes(), noon)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(passes, slices.Collect(again.Passes()), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(offenders, slices.Collect(again.Offenders()), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func checkClient(t *testing.T, is4 bool, bits uint8) {
	if bits > 128 || is4 && bits > 32 {
		t.Errorf("a prefix of %d bits (IPv4: %v)", bits, is4)
	}
}

func checkTime(t *testing.T, d time.Duration) {
	if d < 0 || d > 2*longest*time.Second {
		t.Errorf("a time of %v", d)
	}
}

// million yields a million passes as a shard has them.
func million(yield func(policy.Pass) bool) {
	p := policy.Pass{Addr: addr("0.0.0.0"), Bits: 32}
	for i := range uint32(1_000_000) {
		x := i * 2654435761 // addresses in no order
		p.Addr[12], p.Addr[13], p.Addr[14], p.Addr[15] = byte(x>>24), byte(x>>16), byte(x>>8), byte(x)
		p.Age = time.Duration(86400-i/12) * time.Second
		if !yield(p) {
			return
		}
	}
}

func BenchmarkWriteMillion(b *testing.B) {
	path := b.TempDir() + "/passes"
	for b.Loop() {
		if err := Write(path, Contents{Passes: million}, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadMillion(b *testing.B) {
	path := b.TempDir() + "/passes"
	if err := Write(path, Contents{Passes: million}, noon); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Read(path, noon)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		for range s.Passes() {
			n++
		}
		if n != 1_000_000 {
			b.Fatal(n)
		}
		b.ReportMetric(float64(len(s.text))/float64(n), "octets/pass")
	}
}

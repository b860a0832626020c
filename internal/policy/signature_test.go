package policy

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hushgate/internal/wire"
)

// syn decodes a SYN of either family with options of any kind.
func syn(tb testing.TB, v6 bool, window uint16, options []byte) *wire.Segment {
	tb.Helper()
	h := &wire.Header{Src: addr("192.0.2.1"), Dst: addr("192.0.2.25"), SrcPort: 1, DstPort: 25, Flags: wire.SYN, Wnd: window}
	if v6 {
		h.Src, h.Dst = addr("2001:db8::1"), addr("2001:db8::25")
	}
	for len(options)%4 != 0 {
		options = append(options, 0)
	}
	frame := wire.NewBuilder().Append(nil, h, options)
	d := wire.NewDecoder()
	if d.Decode(frame) != wire.KindTCP {
		tb.Fatal("no TCP")
	}
	frame = d.Segment.Frame() // without link padding
	tcp := frame[len(frame)-len(d.Segment.Payload)-20:]
	tcp[12] = byte((20+len(options))/4) << 4
	if d.Decode(frame) != wire.KindTCP {
		tb.Fatal("no TCP")
	}
	return &d.Segment
}

// stacks are SYNs of stacks that are known, and of those that nobody has.
var stacks = []struct {
	name, options, want string
	window              uint16
}{
	{"Linux", "020405b4 0402 080a0000000000000000 01 030307", "64240_2-4-8-1-3_1460_7", 64240},
	{"Windows", "020405b4 01 030308 01 01 0402", "64240_2-1-3-1-1-4_1460_8", 64240},
	{"macOS", "020405b4 01 030306 01 01 080a0000000000000000 0402", "65535_2-1-3-1-1-8-4-0-0_1460_6", 65535},
	{"a scanner with MSS alone", "020405b4", "1024_2_1460_00", 1024},
	{"no options", "", "65535_00_00_00", 65535},
	{"a scale of 0", "030300 01", "8192_3-1_00_00", 8192},
	{"a scale above 14", "0303ff 01", "8192_3-1_00_255", 8192},
	{"an option that leads out of the header", "020405b4 0a280000", "1_2-10_1460_00", 1},
	{"an option without a length", "020405b4 01010108", "1_2-1-1-1-8_1460_00", 1},
	{"a length of 1", "05010000", "1_5_00_00", 1},
	{"an MSS of a wrong length", "0206000000000000", "1_2-0-0_00_00", 1},
	{"nothing but no-operations", strings.Repeat("01", 40), "1_" + strings.Repeat("1-", 39) + "1_00_00", 1},
}

func TestSignatureOf(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, c := range stacks {
			s := SignatureOf(syn(t, v6, c.window, unhex(c.options)))
			if s.String() != c.want {
				t.Errorf("%s: %v, want %s", c.name, s, c.want)
			}
			again, err := ParseSignature(c.want)
			if err != nil || again != s || !s.Known() {
				t.Errorf("%s: read again as %v, %v", c.name, again, err)
			}
		}
	}
	if s := (Signature{}); s.String() != "-" || s.Known() {
		t.Errorf("a signature that is not known is written %v", s)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestParseSignatureRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":            "expected window_options_mss_scale",
		"1_2_3":       "expected window_options_mss_scale",
		"1_2_3_4_5":   "expected window_options_mss_scale",
		"65536_2_3_4": `window: "65536" is no number from 0 to 65535`,
		"1_256_3_4":   `options: "256" is no number from 0 to 255`,
		"1__3_4":      `options: "" is no number`,
		"1_2-_3_4":    `options: "" is no number`,
		"1_2_-1_4":    `MSS: "-1" is no number`,
		"1_2_3_x":     `window scale: "x" is no number from 0 to 255`,
		"*_2_3_4":     "* stands for any value",
		"1_" + strings.Repeat("1-", 40) + "1_1_1": "41 options: a TCP header has room for 40",
	} {
		if _, err := ParseSignature(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// FuzzPattern: what can be read is written and read again as the same, and an exact pattern matches the one signature it is.
func FuzzPattern(f *testing.F) {
	for _, c := range stacks {
		f.Add(c.want)
	}
	f.Add("*_2-4-8-1-3_*_7")
	f.Add("*_*_*_*")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePattern(text)
		if err != nil {
			return
		}
		again, err := ParsePattern(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is %v, which is %v, %v", text, p, again, err)
		}
		if !p.Matches(&p.want) || p.Matches(&Signature{}) {
			t.Fatalf("%q does not match itself, or what is not known", text)
		}
	})
}

// FuzzSignature: the options of any SYN are written as a text that stands for them.
func FuzzSignature(f *testing.F) {
	for _, c := range stacks {
		f.Add(c.window, unhex(c.options))
	}
	f.Fuzz(func(t *testing.T, window uint16, options []byte) {
		s := SignatureOf(syn(t, len(options)%2 == 1, window, options[:min(len(options), maxKinds)]))
		again, err := ParseSignature(s.String())
		if err != nil || again != s {
			t.Fatalf("%v is read as %v, %v", s, again, err)
		}
	})
}

// TestSignatures: numbers stand for what they were given for as long as they are held; a flood takes nobody's, nor that of a
// rule.
func TestSignatures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bound, pins = 5, 3
		s := newSignatures([2]uint64{7, 8}, bound)
		of := func(n int) (sig Signature) {
			sig.known = true
			sig.window = uint16(n)
			binary.BigEndian.PutUint16(sig.kinds[:], uint16(n))
			sig.count = 2
			return sig
		}
		var pinned []Signature
		held := map[int]int{} // holders by signature
		ids := map[int]SignatureID{}
		unknown := uint64(0)
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			n := rapid.IntRange(0, 12).Draw(t, "signature")
			sig := of(n)
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				if held[n] > 0 {
					s.Release(ids[n])
					held[n]--
				}
			case 1:
				if len(pinned) == 0 {
					for p := range pins {
						pinned = append(pinned, of(p))
					}
				} else {
					pinned = nil
				}
				s.pin(pinned)
			default:
				others := 0
				for other, count := range held {
					if count > 0 && (len(pinned) == 0 || other >= pins) {
						others++
					}
				}
				room := held[n] > 0 || others < bound || len(pinned) > 0 && n < pins
				id := s.Hold(&sig)
				switch {
				case !room && id != 0, room && id == 0:
					t.Fatalf("signature %d got %d with %d others held", n, id, others)
				case id == 0:
					unknown++
				case held[n] > 0 && ids[n] != id:
					t.Fatalf("signature %d is %d and %d", n, ids[n], id)
				default:
					held[n], ids[n] = held[n]+1, id
				}
			}
			for n, count := range held {
				if count > 0 && s.At(ids[n]) != of(n) {
					t.Fatalf("%d stands for %v, not for %v", ids[n], s.At(ids[n]), of(n))
				}
			}
		}
		for n, count := range held {
			for range count {
				s.Release(ids[n])
			}
		}
		s.Release(0)
		if s.Len() != len(pinned) || s.Unknown() != unknown {
			t.Fatalf("%d signatures and %d unknown ones, want %d and %d", s.Len(), s.Unknown(), len(pinned), unknown)
		}
	})
}

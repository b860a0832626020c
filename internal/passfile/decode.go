package passfile

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"hushgate/internal/policy"
	"hushgate/internal/wire"
)

// Saved is what a file has. The zero value has nothing.
type Saved struct {
	text              []byte // the passes, then the offenders; both were read once, and are well-formed
	split             int    // where the offenders begin
	passes, offenders int
	since             time.Duration // since the file was written

	// Back is how far the clock was set back since the file was written; 0 if it was not. The time in between then counts as
	// nothing.
	Back time.Duration
}

// Counts are the numbers of passes and offenders.
func (s *Saved) Counts() (passes, offenders int) { return s.passes, s.offenders }

// Passes yields the passes, with their present age.
func (s *Saved) Passes() iter.Seq[policy.Pass] {
	return func(yield func(policy.Pass) bool) {
		d := decoder{rest: s.text[:s.split]}
		var p policy.Pass
		for range s.passes {
			d.pass(&p)
			out := p
			out.Age += s.since
			if !yield(out) {
				return
			}
		}
	}
}

// Earlier returns what the file says of the time for which it was read, if that lies before the file was written: see Back.
// Passes and offences that came later are left out, and the others are as young as they were then. How long somebody was to
// stay an offender is not known of that time. If the file is older, these are Passes and Offenders.
func (s *Saved) Earlier() (iter.Seq[policy.Pass], iter.Seq[policy.Offender]) {
	if s.Back == 0 {
		return s.Passes(), s.Offenders()
	}
	return s.passesBefore, s.offendersBefore
}

func (s *Saved) passesBefore(yield func(policy.Pass) bool) {
	for p := range s.Passes() {
		if p.Age < s.Back {
			continue
		}
		if p.Age -= s.Back; !yield(p) {
			return
		}
	}
}

func (s *Saved) offendersBefore(yield func(policy.Offender) bool) {
	for o := range s.Offenders() {
		o.Left = 0
		ages := o.Ages
		o.Ages = nil
		for _, age := range ages {
			if age >= s.Back {
				o.Ages = append(o.Ages, age-s.Back)
			}
		}
		if len(o.Ages) > 0 && !yield(o) {
			return
		}
	}
}

// Offenders yields the offenders. One whose time is over is still there with its offences, which may count.
func (s *Saved) Offenders() iter.Seq[policy.Offender] {
	return func(yield func(policy.Offender) bool) {
		d := decoder{rest: s.text[s.split:]}
		for range s.offenders {
			o := d.offender()
			o.Left = max(0, o.Left-s.since)
			for i := range o.Ages {
				o.Ages[i] += s.since
			}
			if !yield(o) {
				return
			}
		}
	}
}

var errDamaged = errors.New("it is damaged or not complete")

// Decode reads what Encode has written. What it returns can be used in any case, as that of Read.
func Decode(text []byte, now time.Time) (*Saved, error) {
	s, err := decode(text, now)
	if err != nil {
		return &Saved{}, fmt.Errorf("read passes: %w", err)
	}
	return s, nil
}

// decode reads a file. A file that is not wholly right gives an error, and nothing else.
func decode(text []byte, now time.Time) (*Saved, error) {
	body, err := checkEnds(text)
	if err != nil {
		return nil, err
	}
	written := int64(binary.BigEndian.Uint64(body))
	numbers := body[len(body)-counts:]
	body = body[8 : len(body)-counts]
	s := &Saved{text: body}
	for i, n := range []*int{&s.passes, &s.offenders} {
		most := uint64(len(body)) // each takes an octet at least
		count := binary.BigEndian.Uint64(numbers[8*i:])
		if count > most {
			return nil, fmt.Errorf("it has %d entries in %d octets", count, most)
		}
		*n = int(count)
	}
	if err := s.walk(); err != nil {
		return nil, err
	}
	s.elapse(written, now)
	return s, nil
}

// checkEnds looks at how a file begins and at its checksum. It returns what is in between.
func checkEnds(text []byte) ([]byte, error) {
	line, _, _ := strings.Cut(string(text[:min(len(text), 2*len(header))]), "\n")
	is, ours := strings.CutPrefix(line, magic)
	switch {
	case !ours:
		return nil, errors.New("it is not a file of passes")
	case is != version:
		return nil, fmt.Errorf("it is of version %s, expected %s", strconv.QuoteToASCII(is), version)
	case len(text) < len(header)+8+trailer:
		return nil, errDamaged
	}
	end := len(text) - sha256.Size
	if sha256.Sum256(text[:end]) != [sha256.Size]byte(text[end:]) {
		return nil, errDamaged
	}
	return text[len(header):end], nil
}

// walk reads everything once, and finds where the offenders begin.
func (s *Saved) walk() error {
	d := decoder{rest: s.text}
	var p policy.Pass
	for i := 0; i < s.passes && !d.wrong; i++ {
		d.pass(&p)
	}
	s.split = len(s.text) - len(d.rest)
	for i := 0; i < s.offenders && !d.wrong; i++ {
		d.offender()
	}
	if d.wrong || len(d.rest) > 0 {
		return errors.New("its entries are not well-formed")
	}
	return nil
}

// elapse works out how long ago the file was written.
func (s *Saved) elapse(written int64, now time.Time) {
	switch d := now.Unix() - written; {
	case written < 0 || d > longest:
		s.since = longest * time.Second
	case d < 0:
		s.Back = time.Duration(min(-d, longest)) * time.Second
	default:
		s.since = time.Duration(d) * time.Second
	}
}

// decoder reads entries. After the first that is not well-formed, wrong is true.
type decoder struct {
	rest  []byte
	age   int64 // of the pass before
	wrong bool
}

// pass reads a pass into p, which it overwrites.
func (d *decoder) pass(p *policy.Pass) {
	p.Addr, p.Bits = d.client()
	difference, n := binary.Varint(d.rest)
	d.skip(n)
	if difference > longest || difference < -longest {
		d.wrong = true
		return
	}
	d.age += difference
	d.wrong = d.wrong || d.age < 0 || d.age > longest
	p.Age = time.Duration(d.age) * time.Second
}

func (d *decoder) offender() (o policy.Offender) {
	o.Addr, o.Bits = d.client()
	o.Left = d.time()
	n := int(d.octet())
	if n > len(d.rest) { // each takes an octet at least
		d.wrong = true
		return o
	}
	o.Ages = make([]time.Duration, n)
	for i := range o.Ages {
		o.Ages[i] = d.time()
	}
	return o
}

func (d *decoder) client() (a wire.Addr, bits uint8) {
	bits = d.octet()
	start := 12
	if bits >= v6 {
		bits, start = bits-v6, 0
	} else {
		a[10], a[11] = 0xff, 0xff
	}
	n := octets(bits)
	if bits > 128 || n > len(d.rest) {
		d.wrong = true
		return a, bits
	}
	copy(a[start:], d.rest[:n])
	d.rest = d.rest[n:]
	d.wrong = d.wrong || start == 0 && a.Is4()
	return a, bits
}

func (d *decoder) octet() uint8 {
	if len(d.rest) == 0 {
		d.wrong = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) time() time.Duration {
	v, n := binary.Uvarint(d.rest)
	d.skip(n)
	if v > longest {
		d.wrong = true
		return 0
	}
	return time.Duration(v) * time.Second
}

// skip leaves out n octets, which were a number; n is not positive if they were none.
func (d *decoder) skip(n int) {
	if n <= 0 {
		d.wrong = true
		return
	}
	d.rest = d.rest[n:]
}

package wire

// Seq is a TCP sequence number. Numbers are compared modulo 2^32 (RFC 9293 section 3.4): a is before b if b-a, modulo 2^32, is
// at least 1 and less than 2^31.
type Seq uint32

// Before reports whether s comes before t.
func (s Seq) Before(t Seq) bool { return int32(s-t) < 0 }

// AtOrBefore reports whether s is t or comes before it.
func (s Seq) AtOrBefore(t Seq) bool { return int32(s-t) <= 0 }

// After reports whether s comes after t.
func (s Seq) After(t Seq) bool { return int32(s-t) > 0 }

// AtOrAfter reports whether s is t or comes after it.
func (s Seq) AtOrAfter(t Seq) bool { return int32(s-t) >= 0 }

// Within reports whether s lies in the window of size octets that starts at first.
func (s Seq) Within(first Seq, size uint32) bool { return uint32(s-first) < size }

package policy

import (
	"github.com/dchest/siphash"

	"hushgate/internal/flowtab"
)

// SignatureID stands for a Signature in the record of a connection, which has no room for the signature itself. 0 is that of
// a client whose signature is not known.
type SignatureID uint16

// Signatures gives the signatures of a shard's connections numbers. A signature has one as long as somebody holds it. The
// table is bounded, because SYNs come from anybody: when it is full of held signatures, a new one gets 0, and is unknown.
// The signatures that rules ask for have a place of their own, so that no flood of strange SYNs takes it.
type Signatures struct {
	slab    *flowtab.Slab[signatureEntry]
	index   *flowtab.Index
	key     [2]uint64
	bound   int
	pinned  int
	unknown uint64
}

type signatureEntry struct {
	signature Signature
	pinned    bool
	holders   uint32
}

const (
	maxSignatures = 1<<16 - 1 // as many as a SignatureID can name
	maxPinned     = 1 << 10   // as many rules can ask for
)

func newSignatures(key [2]uint64, bound int) *Signatures {
	s := &Signatures{key: key, bound: min(bound, maxSignatures-2*maxPinned)}
	s.slab = flowtab.NewSlab[signatureEntry](maxSignatures)
	s.index = flowtab.NewIndex(func(id uint32) uint64 { return s.hash(&s.slab.At(id).signature) })
	return s
}

func (s *Signatures) hash(sig *Signature) uint64 {
	var b [6 + maxKinds]byte
	b[0], b[1] = byte(sig.window), byte(sig.window>>8)
	b[2], b[3] = byte(sig.mss), byte(sig.mss>>8)
	b[4], b[5] = sig.scale, sig.count
	n := 6 + copy(b[6:], sig.kinds[:sig.count])
	return siphash.Hash(s.key[0], s.key[1], b[:n])
}

// find returns the id of a signature, 0 if it has none, and its hash.
func (s *Signatures) find(sig *Signature) (uint32, uint64) {
	hash := s.hash(sig)
	c := s.index.Find(hash)
	for id := c.Next(); id != 0; id = c.Next() {
		if s.slab.At(id).signature == *sig {
			return id, hash
		}
	}
	return 0, hash
}

func (s *Signatures) insert(sig *Signature, hash uint64) uint32 {
	id, ok := s.slab.Alloc()
	if !ok {
		return 0
	}
	*s.slab.At(id) = signatureEntry{signature: *sig}
	s.index.Insert(hash, id)
	return id
}

func (s *Signatures) remove(id uint32) {
	e := s.slab.At(id)
	s.index.Delete(s.hash(&e.signature), id)
	*e = signatureEntry{}
	s.slab.Free(id)
}

// Hold returns the number of a signature, which is valid until each Hold has had its Release.
func (s *Signatures) Hold(sig *Signature) SignatureID {
	if !sig.known {
		return 0
	}
	id, hash := s.find(sig)
	if id == 0 {
		if s.slab.Len()-s.pinned < s.bound {
			id = s.insert(sig, hash)
		}
		if id == 0 {
			s.unknown++
			return 0
		}
	}
	s.slab.At(id).holders++
	return SignatureID(id)
}

// borrow is Hold for a moment, which counts for nothing if there is no room.
func (s *Signatures) borrow(sig *Signature) SignatureID {
	before := s.unknown
	id := s.Hold(sig)
	s.unknown = before
	return id
}

// Release ends a Hold. That of 0 means nothing.
func (s *Signatures) Release(id SignatureID) {
	if id == 0 {
		return
	}
	e := s.slab.At(uint32(id))
	if e.holders--; e.holders == 0 && !e.pinned {
		s.remove(uint32(id))
	}
}

// At returns the signature of a number that is held.
func (s *Signatures) At(id SignatureID) Signature {
	if id == 0 {
		return Signature{}
	}
	return s.slab.At(uint32(id)).signature
}

// Len returns how many signatures have a number.
func (s *Signatures) Len() int { return s.slab.Len() }

// Unknown counts the SYNs whose signature found no room.
func (s *Signatures) Unknown() uint64 { return s.unknown }

// pin replaces the signatures that have a place of their own.
func (s *Signatures) pin(list []Signature) {
	for id := uint32(1); id < s.slab.Bound(); id++ {
		if e := s.slab.At(id); e.pinned {
			e.pinned = false
			s.pinned--
			if e.holders == 0 {
				s.remove(id)
			}
		}
	}
	for i := range list {
		id, hash := s.find(&list[i])
		if id == 0 {
			id = s.insert(&list[i], hash)
		}
		if id == 0 {
			continue
		}
		if e := s.slab.At(id); !e.pinned {
			e.pinned = true
			s.pinned++
		}
	}
}

package flowtab

// Index finds ids by a 64-bit hash of their keys. It uses open addressing with linear probing, in segments chosen by the
// hash's high bits. Each segment grows on its own, so that an insertion waits for one segment at most. Deletion moves the
// following ids back, so that no tombstones accumulate. A slot is an id of 4 octets; 0 is an empty slot.
type Index struct {
	segments [1 << segmentBits]segment
	hashOf   func(id uint32) uint64
}

type segment struct {
	slots []uint32
	used  int
}

const (
	segmentBits = 8
	firstSlots  = 8
)

// NewIndex returns an empty index. hashOf computes the hash of an id in the index.
func NewIndex(hashOf func(id uint32) uint64) *Index { return &Index{hashOf: hashOf} }

func (x *Index) segment(hash uint64) *segment { return &x.segments[hash>>(64-segmentBits)] }

// Cursor walks through the ids that may have the hash that was looked up.
type Cursor struct {
	slots []uint32
	at    uint32
}

// Find returns a cursor for hash. Call Next until it returns 0 or the id looked for.
func (x *Index) Find(hash uint64) Cursor {
	s := x.segment(hash)
	return Cursor{slots: s.slots, at: uint32(hash)}
}

// Next returns the next candidate; 0 if there is none.
func (c *Cursor) Next() uint32 {
	if len(c.slots) == 0 {
		return 0
	}
	id := c.slots[c.at&uint32(len(c.slots)-1)]
	c.at++
	return id
}

// Insert adds an id, which must not be in the index, under a hash.
func (x *Index) Insert(hash uint64, id uint32) {
	s := x.segment(hash)
	if s.used >= len(s.slots)*4/5 {
		s.grow(x.hashOf)
	}
	s.put(hash, id)
	s.used++
}

func (s *segment) put(hash uint64, id uint32) {
	mask := uint32(len(s.slots) - 1)
	i := uint32(hash) & mask
	for s.slots[i] != 0 {
		i = (i + 1) & mask
	}
	s.slots[i] = id
}

func (s *segment) grow(hashOf func(uint32) uint64) {
	old := s.slots
	s.slots = make([]uint32, max(firstSlots, 2*len(old)))
	for _, id := range old {
		if id != 0 {
			s.put(hashOf(id), id)
		}
	}
}

// Delete removes the id under a hash; false if it is not there.
func (x *Index) Delete(hash uint64, id uint32) bool {
	s := x.segment(hash)
	if len(s.slots) == 0 {
		return false
	}
	mask := uint32(len(s.slots) - 1)
	i := uint32(hash) & mask
	for s.slots[i] != id {
		if s.slots[i] == 0 {
			return false
		}
		i = (i + 1) & mask
	}
	s.used--
	// Move back ids that a search would not find across the hole (Knuth volume 3, section 6.4, algorithm R).
	for j := (i + 1) & mask; s.slots[j] != 0; j = (j + 1) & mask {
		home := uint32(x.hashOf(s.slots[j])) & mask
		if (j-home)&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = 0
	return true
}

// Len returns the number of ids in the index.
func (x *Index) Len() (n int) {
	for i := range x.segments {
		n += x.segments[i].used
	}
	return n
}

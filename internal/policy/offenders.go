package policy

import "hushgate/internal/wire"

// offenders are the clients that have talked early. The queue has all of them; the one whose last offence is oldest gives way
// when there is no room.
type offenders struct {
	keyed[record]
	hasher  hasher
	evicted uint64
}

// record is one client's offences, in the order in which they came. An offence before those that are kept cannot matter:
// maxOffences are enough to be listed.
type record struct {
	at    [maxOffences]stamp
	until stamp // listed until then; 0: not listed
	count uint8
}

// offences are Offences, in seconds.
type offences struct {
	after           int
	within, forTime uint32
}

// offend notes an offence, and reports whether the client is listed now, and whether it was before.
func (t *offenders) offend(hash uint64, key *wire.Addr, now stamp, o *offences) (is, was bool) {
	r := t.renew(hash, key, now)
	r.forget(now, o.within)
	r.add(now)
	was = r.until > now
	is = was || int(r.count) >= o.after
	if is {
		r.until = now + stamp(o.forTime)
	}
	return is, was
}

// forget drops offences that are too old to count.
func (r *record) forget(now stamp, within uint32) {
	old := 0
	for old < int(r.count) && uint32(now-r.at[old]) >= within {
		old++
	}
	r.drop(old)
}

func (r *record) drop(n int) {
	copy(r.at[:], r.at[n:r.count])
	r.count -= uint8(n)
}

func (r *record) add(at stamp) {
	if r.count == maxOffences {
		r.drop(1)
	}
	r.at[r.count] = at
	r.count++
}

// renew returns a client's record, which is the last to give way from now on.
func (t *offenders) renew(hash uint64, key *wire.Addr, now stamp) *record {
	id := t.find(hash, key)
	switch {
	case id != 0:
		t.pull(id)
	default:
		if id = t.insert(hash, key); id == 0 {
			oldest := t.head
			if t.slab.At(oldest).value.until > now {
				t.evicted++
			}
			t.forgetID(oldest)
			id = t.insert(hash, key)
		}
	}
	t.push(id)
	return &t.slab.At(id).value
}

func (t *offenders) forgetID(id uint32) {
	t.pull(id)
	t.remove(t.hasher.of(&t.slab.At(id).key), id)
}

// listed reports whether a client is an offender.
func (t *offenders) listed(hash uint64, key *wire.Addr, now stamp) bool {
	if t.head == 0 {
		return false
	}
	id := t.find(hash, key)
	return id != 0 && t.slab.At(id).value.until > now
}

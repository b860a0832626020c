package kernelset

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// full makes a Set with as many entries as it may have, half of them of each family.
func full(b *testing.B) *Set {
	b.Helper()
	_, gw := site(b)
	s := opened(b, gw, Config{})
	list := make([]Entry, DefaultMax)
	for i := range list {
		list[i] = Entry{nth(i), time.Hour}
	}
	must(b, s.AddAll(list))
	return s
}

// nth returns one of many networks.
func nth(i int) netip.Prefix {
	if i%2 == 0 {
		a := [4]byte{10}
		binary.BigEndian.PutUint16(a[2:], uint16(i/2))
		return netip.PrefixFrom(netip.AddrFrom4(a), 32)
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint16(a[6:], uint16(i/2))
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func BenchmarkAdd(b *testing.B) {
	s := full(b)
	for i := 0; b.Loop(); i++ {
		must(b, s.Add(nth(i%DefaultMax), time.Hour))
	}
}

func BenchmarkRepairNothing(b *testing.B) {
	s := full(b)
	for b.Loop() {
		if did, err := s.Repair(); err != nil || did {
			b.Fatal(did, err)
		}
	}
}

// BenchmarkRepairCompare: others have changed nftables.
func BenchmarkRepairCompare(b *testing.B) {
	s := full(b)
	for b.Loop() {
		s.installed.generation = 0
		if did, err := s.Repair(); err != nil || did {
			b.Fatal(did, err)
		}
	}
}

// BenchmarkInstall writes the whole table.
func BenchmarkInstall(b *testing.B) {
	s := full(b)
	for b.Loop() {
		must(b, s.install())
	}
}

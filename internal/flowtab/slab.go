package flowtab

import (
	"fmt"
	"reflect"
	"unsafe"
)

// chunkOctets is the approximate size by which a slab grows.
const chunkOctets = 128 << 10

// Slab holds records of one type under ids from 1 up. A record does not move, and its id stays valid, until it is freed.
type Slab[T any] struct {
	chunks [][]T
	free   []uint32 // freed ids, last in first out
	next   uint32   // the lowest id that was never allocated
	limit  uint32
	live   int
	shift  uint8
	mask   uint32
}

// NewSlab returns an empty slab for at most limit records. T must not contain pointers.
func NewSlab[T any](limit int) *Slab[T] {
	t := reflect.TypeFor[T]()
	if hasPointers(t) {
		panic(fmt.Sprintf("flowtab: %v holds pointers", t))
	}
	s := &Slab[T]{next: 1, limit: uint32(min(limit, 1<<31-1))}
	for uintptr(2<<s.shift)*unsafe.Sizeof(*new(T)) <= chunkOctets {
		s.shift++
	}
	s.mask = 1<<s.shift - 1
	return s
}

func hasPointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8,
		reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64,
		reflect.Complex64, reflect.Complex128:
		return false
	case reflect.Array:
		return t.Len() > 0 && hasPointers(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if hasPointers(t.Field(i).Type) {
				return true
			}
		}
		return false
	default:
		return true
	}
}

// Alloc returns the id of a record with undefined content; false if the limit is reached.
func (s *Slab[T]) Alloc() (uint32, bool) {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		s.live++
		return id, true
	}
	if s.next > s.limit {
		return 0, false
	}
	id := s.next
	if int((id-1)>>s.shift) == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, 1<<s.shift))
	}
	s.next++
	s.live++
	return id, true
}

// Free frees a record.
func (s *Slab[T]) Free(id uint32) {
	s.live--
	s.free = append(s.free, id)
}

// At returns the record of a live id.
func (s *Slab[T]) At(id uint32) *T {
	i := id - 1
	return &s.chunks[i>>s.shift][i&s.mask]
}

// Bound is greater than every id that was ever allocated.
func (s *Slab[T]) Bound() uint32 { return s.next }

// Len returns the number of live records.
func (s *Slab[T]) Len() int { return s.live }

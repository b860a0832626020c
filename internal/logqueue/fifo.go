package logqueue

import "encoding/binary"

// fifo holds lines in their order, in chunks of memory that are reused.
type fifo struct {
	chunks [][]byte // oldest first, with a header before each line
	at     int      // where the next line begins in the first chunk
	size   int      // octets of all waiting lines and headers
	spare  [][]byte
}

const (
	chunkSize = 64 << 10
	spares    = 8  // chunks kept for reuse
	headSize  = 12 // the line's length, and the number of lost lines that it reports
)

func (f *fifo) push(line []byte, told uint64) {
	need := headSize + len(line)
	last := len(f.chunks) - 1
	if last < 0 || cap(f.chunks[last])-len(f.chunks[last]) < need {
		f.chunks = append(f.chunks, f.chunk(need))
		last++
	}
	b := binary.LittleEndian.AppendUint32(f.chunks[last], uint32(len(line)))
	b = binary.LittleEndian.AppendUint64(b, told)
	f.chunks[last] = append(b, line...)
	f.size += need
}

func (f *fifo) chunk(need int) []byte {
	if n := len(f.spare); n > 0 && need <= chunkSize {
		b := f.spare[n-1]
		f.spare = f.spare[:n-1]
		return b[:0]
	}
	return make([]byte, 0, max(need, chunkSize))
}

// next returns the length of the next line; 0 if there is none.
func (f *fifo) next() int {
	if f.size == 0 {
		return 0
	}
	return int(binary.LittleEndian.Uint32(f.chunks[0][f.at:]))
}

// pop appends the next line to b; ok is false if there is none.
func (f *fifo) pop(b []byte) (_ []byte, told uint64, ok bool) {
	if f.size == 0 {
		return b, 0, false
	}
	first := f.chunks[0]
	n := f.next()
	told = binary.LittleEndian.Uint64(first[f.at+4:])
	b = append(b, first[f.at+headSize:][:n]...)
	f.at += headSize + n
	f.size -= headSize + n
	if f.at == len(first) {
		f.release(first)
	}
	return b, told, true
}

// release removes the first chunk, which is empty.
func (f *fifo) release(first []byte) {
	if len(f.spare) < spares && cap(first) == chunkSize {
		f.spare = append(f.spare, first)
	}
	n := copy(f.chunks, f.chunks[1:])
	f.chunks[n] = nil
	f.chunks, f.at = f.chunks[:n], 0
}

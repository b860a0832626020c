package segscript

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Vocabulary is the set of words that may stand in one place of a script. Each has a meaning.
type Vocabulary[T any] struct {
	place    string
	words    []string // in the order of an error message
	meanings map[string]T
}

// Words makes a vocabulary. The place names it in errors.
func Words[T any](place string, meanings map[string]T) *Vocabulary[T] {
	return &Vocabulary[T]{place: place, words: slices.Sorted(maps.Keys(meanings)), meanings: meanings}
}

// unnamed is what the String methods of an enumeration return for a number that is none of its values.
const unnamed = "unknown"

// Names makes the vocabulary of an enumeration: the words are those of its String method, from its first value to the
// last that has a name.
func Names[T interface {
	~uint8
	fmt.Stringer
}](place string,
) *Vocabulary[T] {
	v := &Vocabulary[T]{place: place, meanings: map[string]T{}}
	for n := range 256 {
		word := T(n).String()
		if word == unnamed {
			break
		}
		v.words = append(v.words, word)
		v.meanings[word] = T(n)
	}
	return v
}

// Read returns what a word means. The error for an unknown word lists those that are known.
func (v *Vocabulary[T]) Read(word string) (meaning T, err error) {
	meaning, ok := v.meanings[word]
	if !ok {
		err = fmt.Errorf("%s %q: expected %s", v.place, word, strings.Join(v.words, ", "))
	}
	return meaning, err
}

// Pairs calls take for each word with the one behind it.
func Pairs(words []string, take func(word, value string) error) error {
	for ; len(words) > 1; words = words[2:] {
		if err := take(words[0], words[1]); err != nil {
			return err
		}
	}
	if len(words) == 1 {
		return fmt.Errorf("%q: expected a value behind it", words[0])
	}
	return nil
}

// Server reads the name of a server, as it may stand before an arrow: s1 is the first. It returns the number, from 1.
func Server(word string) (int, error) {
	number, isServer := strings.CutPrefix(word, "s")
	n, err := strconv.Atoi(number)
	if !isServer || err != nil || n < 1 {
		return 0, fmt.Errorf("server %q: expected s1, s2 or so on", word)
	}
	return n, nil
}

// Count reads how many there are of something.
func Count(word string) (uint64, error) {
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q: expected a count", word)
	}
	return n, nil
}

// Duration reads a time with its unit.
func Duration(word string) (time.Duration, error) {
	d, err := time.ParseDuration(word)
	if err != nil {
		return 0, fmt.Errorf("%q: expected a time with its unit, as 30s or 100ms", word)
	}
	return d, nil
}

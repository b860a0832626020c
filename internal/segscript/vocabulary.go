package segscript

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Vocabulary is the set of words that may stand in one place of a script, each with its meaning.
type Vocabulary[T any] struct {
	place    string
	words    []string // in the order of an error message
	meanings map[string]T
}

// Words returns a vocabulary. The place is its name in errors.
func Words[T any](place string, meanings map[string]T) *Vocabulary[T] {
	return &Vocabulary[T]{place: place, words: slices.Sorted(maps.Keys(meanings)), meanings: meanings}
}

// unnamed is what the String method of an enumeration returns for a number without a name.
const unnamed = "unknown"

// Names returns the vocabulary of an enumeration: the words of its String method, from the first value to the last that has
// a name.
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

// Read returns the meaning of a word. The error for an unknown word lists the known ones.
func (v *Vocabulary[T]) Read(word string) (meaning T, err error) {
	meaning, ok := v.meanings[word]
	if !ok {
		err = fmt.Errorf("%s %q: expected %s", v.place, word, strings.Join(v.words, ", "))
	}
	return meaning, err
}

// Pairs calls take for each word and the word after it.
func Pairs(words []string, take func(word, value string) error) error {
	for ; len(words) > 1; words = words[2:] {
		if err := take(words[0], words[1]); err != nil {
			return err
		}
	}
	if len(words) == 1 {
		return fmt.Errorf("%q: expected a value after it", words[0])
	}
	return nil
}

// Server reads the name of a server as in an arrow: s1 is the first. It returns the number, from 1.
func Server(word string) (int, error) {
	number, isServer := strings.CutPrefix(word, "s")
	n, err := strconv.Atoi(number)
	if !isServer || err != nil || n < 1 {
		return 0, fmt.Errorf("server %q: expected s1, s2 or so on", word)
	}
	return n, nil
}

// Count reads a number of things.
func Count(word string) (uint64, error) {
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q: expected a count", word)
	}
	return n, nil
}

// Duration reads a duration with its unit.
func Duration(word string) (time.Duration, error) {
	d, err := time.ParseDuration(word)
	if err != nil {
		return 0, fmt.Errorf("%q: expected a duration with its unit, such as 30s or 100ms", word)
	}
	return d, nil
}

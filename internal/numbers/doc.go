// Package numbers reads numbers from structs that declare them. A number is a field; the field's tags say what it is called and what it
// counts. The log, the control API, Prometheus and the documentation read the same declarations.
//
//	type Stats struct {
//		Frames  uint64        `name:"frames" help:"frames received"`
//		Dropped [drops]uint64 `name:"dropped" label:"reason" help:"frames dropped"`
//		Passes  int64         `name:"passes" help:"passes that are remembered"`
//		Listed  uint64        `name:"answers" label:"result=listed" help:"answers by result"`
//		Absent  uint64        `name:"answers" label:"result=absent"`
//		Busy    time.Duration `name:"busy" help:"time at work"`
//	}
//
// Unsigned fields and durations count from a start on. Signed ones, truth values and moments are present numbers (gauges), and so is
// a field with the tag gauge:"true". Arrays and maps have a label: the keys of a map are its values, and the struct names those of
// an array (Labeller). A field without help has that of the field before it, which has the same name. A field without name is no number.
package numbers

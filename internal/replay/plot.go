package replay

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// maxPoints bounds the number of points of the curve.
const maxPoints = 2000

// Plot draws the cumulative curve of the time to the first octet of clients that did not wait: how many an inspect-delay
// would have rejected. The file's name must end in .svg or .png.
func Plot(file string, t *Tally) error {
	switch ext := strings.ToLower(filepath.Ext(file)); ext {
	case ".svg", ".png":
	default:
		return fmt.Errorf("--plot %s: expected a name that ends in .svg or .png", file)
	}
	if judged, timed := t.Judged(); judged > 0 && timed == 0 {
		return errors.New("draw the curve: the capture has no times (pcapng's simple packet blocks)")
	}
	p := plot.New()
	p.Title.Text = "Clients that talk before the banner"
	p.X.Label.Text = "inspect-delay in seconds"
	p.Y.Label.Text = "rejected"
	p.X.Min, p.Y.Min = 0, 0
	p.Legend.Top, p.Legend.Left = false, false
	p.Add(plotter.NewGrid())
	points := t.Curve(maxPoints)
	if n := len(points); n > 0 { // extend the curve a little beyond its last step, to make the step visible
		points = append(points, points[n-1])
		points[n].At += points[n].At/20 + time.Millisecond
		p.Y.Max = float64(points[n].Connections) * 1.05
	}
	for i, c := range []struct {
		name string
		y    func(Point) int
	}{
		{"connections", func(p Point) int { return p.Connections }},
		{"senders", func(p Point) int { return p.Senders }},
	} {
		xy := plotter.XYs{{}}
		for _, q := range points {
			xy = append(xy, plotter.XY{X: q.At.Seconds(), Y: float64(c.y(q))})
		}
		line, err := plotter.NewLine(xy)
		if err != nil {
			return fmt.Errorf("draw the curve: %w", err)
		}
		line.StepStyle = plotter.PostStep
		line.Width = vg.Points(1.5)
		if i > 0 {
			line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		p.Add(line)
		p.Legend.Add(c.name, line)
	}
	if err := p.Save(18*vg.Centimeter, 12*vg.Centimeter, file); err != nil {
		return fmt.Errorf("draw the curve: %w", err)
	}
	return nil
}

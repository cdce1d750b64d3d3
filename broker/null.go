package broker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math"

	"lukechampine.com/blake3"
)

// nullProvider answers every completion with the last thing the user said and
// every text with a vector made from its hash. It exists for tests and for
// trying out a crew without a model; nothing it says means anything.
type nullProvider struct{}

// nullDimensions is the length of the vectors of the null provider.
const nullDimensions = 16

func (nullProvider) Complete(ctx context.Context, r *Request) (Response, error) {
	if err := ctx.Err(); err != nil {
		return Response{}, err
	}
	out := Response{Finish: FinishStop}
	for _, m := range r.Messages {
		if m.Role == RoleUser {
			out.Text = m.Content
		}
	}
	if len(r.Schema) > 0 {
		body, err := json.Marshal(map[string]string{"echo": out.Text})
		if err != nil {
			return Response{}, err
		}
		out.Text = string(body)
	}
	out.Usage = Usage{TokensIn: r.estimate(), TokensOut: out.estimate()}
	return out, nil
}

func (nullProvider) Embed(ctx context.Context, r *EmbedRequest) (Vectors, error) {
	out := Vectors{Usage: Usage{TokensIn: r.estimate()}}
	for _, text := range r.Input {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		out.Vectors = append(out.Vectors, hashVector(text))
	}
	return out, nil
}

// hashVector returns a unit vector that equal texts share.
func hashVector(text string) []float32 {
	sum := blake3.Sum512([]byte(text))
	v := make([]float32, nullDimensions)
	var norm float64
	for i := range v {
		u := binary.LittleEndian.Uint32(sum[4*i:])
		x := float64(int32(u)) / math.MaxInt32
		v[i] = float32(x)
		norm += x * x
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(norm))
	}
	return v
}

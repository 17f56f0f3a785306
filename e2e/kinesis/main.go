// Kinesis is an application server of the stories: it puts records into a stream of Kinesis, reads the stream
// from its beginning and prints what is in it. It is written as for AWS and knows nothing of Causeway: region,
// credentials and CA bundle come from the environment, the address of the service from its public name.
//
// It is a module of its own, so that the AWS SDK is no dependency of Causeway.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

func main() {
	stream := flag.String("stream", "orders", "name of the stream, made where it does not exist")
	byARN := flag.Bool("arn", false, "name the stream by its ARN too: the SDK then asks the hosts of the stream's account")
	timeout := flag.Duration("timeout", time.Minute, "how long all of it may take")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: kinesis [flags] record...\nPuts records into a stream and prints all records of it.")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if err := run(ctx, os.Stdout, *stream, *byARN, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "kinesis:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, name string, byARN bool, records []string) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("configure the AWS SDK: %w", err)
	}
	s := stream{Client: kinesis.NewFromConfig(cfg), name: name}
	if err := s.open(ctx); err != nil {
		return fmt.Errorf("open stream %q: %w", name, err)
	}
	if byARN {
		if err := s.findARN(ctx); err != nil {
			return fmt.Errorf("describe stream %q: %w", name, err)
		}
	}
	if err := s.put(ctx, records); err != nil {
		return fmt.Errorf("put records into stream %q: %w", name, err)
	}
	if err := s.read(ctx, out); err != nil {
		return fmt.Errorf("read stream %q: %w", name, err)
	}
	return nil
}

// stream is one stream of Kinesis.
type stream struct {
	*kinesis.Client
	name string
	arn  *string // nil to leave it out
}

// open makes the stream unless it exists, and waits until it can be used.
func (s *stream) open(ctx context.Context) error {
	_, err := s.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: &s.name, ShardCount: aws.Int32(2)})
	if _, exists := errors.AsType[*types.ResourceInUseException](err); err != nil && !exists {
		return err
	}
	waiter := kinesis.NewStreamExistsWaiter(s, func(o *kinesis.StreamExistsWaiterOptions) { o.MinDelay = 100 * time.Millisecond })
	return waiter.Wait(ctx, &kinesis.DescribeStreamInput{StreamName: &s.name}, time.Minute)
}

// findARN asks for the stream's ARN, for the requests that follow.
func (s *stream) findARN(ctx context.Context) error {
	answer, err := s.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &s.name})
	if err != nil {
		return err
	}
	s.arn = answer.StreamDescriptionSummary.StreamARN
	return nil
}

// put adds records, each with itself as its partition key.
func (s *stream) put(ctx context.Context, records []string) error {
	if len(records) == 0 {
		return nil
	}
	entries := make([]types.PutRecordsRequestEntry, len(records))
	for n, record := range records {
		entries[n] = types.PutRecordsRequestEntry{Data: []byte(record), PartitionKey: &records[n]}
	}
	answer, err := s.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: &s.name, StreamARN: s.arn, Records: entries})
	if err != nil {
		return err
	}
	if failed := aws.ToInt32(answer.FailedRecordCount); failed > 0 {
		return fmt.Errorf("%d of %d records were refused", failed, len(records))
	}
	return nil
}

// read prints the records of all shards, a line each.
func (s *stream) read(ctx context.Context, out io.Writer) error {
	// The first page is asked for by the stream's name, further ones by their token alone.
	page := &kinesis.ListShardsInput{StreamName: &s.name, StreamARN: s.arn}
	for {
		answer, err := s.ListShards(ctx, page)
		if err != nil {
			return err
		}
		for _, shard := range answer.Shards {
			if err := s.readShard(ctx, out, shard.ShardId); err != nil {
				return fmt.Errorf("read shard %q: %w", aws.ToString(shard.ShardId), err)
			}
		}
		if answer.NextToken == nil {
			return nil
		}
		page = &kinesis.ListShardsInput{NextToken: answer.NextToken}
	}
}

// readShard prints the records of a shard from its oldest to the newest of now.
func (s *stream) readShard(ctx context.Context, out io.Writer, shard *string) error {
	start, err := s.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: &s.name, StreamARN: s.arn, ShardId: shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		return err
	}
	for next := start.ShardIterator; next != nil; {
		batch, err := s.GetRecords(ctx, &kinesis.GetRecordsInput{StreamARN: s.arn, ShardIterator: next})
		if err != nil {
			return err
		}
		for _, record := range batch.Records {
			if _, err := fmt.Fprintf(out, "%s\n", record.Data); err != nil {
				return err
			}
		}
		if aws.ToInt64(batch.MillisBehindLatest) == 0 {
			return nil
		}
		next = batch.NextShardIterator
	}
	return nil
}

using KvCache.Silo.Events;

namespace KvCache.Chaos.Fuzz;

/// <summary>ZMTP: greetings, commands and frames, with and without a proof.</summary>
internal sealed class ZmtpTarget() : FuzzTarget("zmtp")
{
    private const int MaxFrameBytes = 4096, Frames = 16;

    private readonly byte[][] _greetings = Corpus.Of("zmtp-greeting");
    private readonly byte[][] _frames = Corpus.Of("zmtp");

    public override double Weight => 2;

    public override int Feed(Mutator mutator)
    {
        // Greeting and command of each way to begin lie one behind the other.
        var greeting = _greetings[mutator.Dice.Next(_greetings.Length)];
        if (mutator.Dice.Next(4) == 0)
            greeting = mutator.Mutate(greeting, _greetings[0]);
        var stream = new TwoWay();
        stream.Add(greeting);
        for (var i = 0; i < Frames; i++)
        {
            var (valid, other) = Pick(_frames, mutator);
            stream.Add(mutator.Dice.Next(3) == 0 ? valid : mutator.Mutate(valid, other));
        }

        using var socket = new ZmtpSocket(stream, MaxFrameBytes);
        var asksProof = mutator.Dice.Next(2) == 0;
        try
        {
            socket.HandshakeAsync(
                "PUB", ["SUB", "XSUB"], asksProof ? static (name, secret) => new ValueTask<bool>(name == "acme" && secret.Length > 0)
                    : null,
                CancellationToken.None).GetAwaiter().GetResult();
            while (true)
                socket.ReceiveAsync(CancellationToken.None).GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is KvFormatException or EndOfStreamException)
        {
            // Refused, or everything was read.
        }
        catch (Exception e)
        {
            throw new FuzzFailure("ZMTP threw", stream.Last, e);
        }

        return stream.Begun;
    }

    // What is read was put there before; what is written goes nowhere.
    private sealed class TwoWay : Stream
    {
        private readonly Queue<byte[]> _inputs = new();
        private int _position;

        public int Begun { get; private set; }

        public byte[] Last { get; private set; } = [];

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public void Add(byte[] input) => _inputs.Enqueue(input);

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer)
        {
            while (_position == Last.Length)
            {
                if (!_inputs.TryDequeue(out var next))
                    return 0;
                (Last, _position) = (next, 0);
                Begun++;
            }

            var count = Math.Min(buffer.Length, Last.Length - _position);
            Last.AsSpan(_position, count).CopyTo(buffer);
            _position += count;
            return count;
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => new(
            Read(buffer.Span));

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => default;

        public override void Write(byte[] buffer, int offset, int count)
        {
        }

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}

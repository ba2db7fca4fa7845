using KvCache.Bench.Measuring;
using KvCache.Bench.Memory;

namespace KvCache.Bench.Codec;

/// <summary>
/// Warm memory with the blocks of a sample, repeated until it is full, and room for each way of compressing them. Blocks are encoded one by
/// one, as a cache does: that a block is repeated helps no compressor.
/// </summary>
internal sealed class CodecLane : IDisposable
{
    private readonly KvSample _sample;
    private readonly int _blocks;
    private readonly WarmBuffer _source;
    private readonly WarmBuffer _target;
    private readonly CompressedBlocks[] _ways;

    public CodecLane(KvSample sample, long bytes)
    {
        _sample = sample;
        _blocks = (int)Math.Max(sample.Blocks.Count, bytes / sample.Layout.BlockBytes);
        _source = WarmBuffer.Private(Bytes);
        _target = WarmBuffer.Private(Bytes);
        _ways =
        [
            new("planes", TensorCompression.FloatPlanes, sample.Layout, _blocks),
            new("zstd", TensorCompression.Zstd, sample.Layout, _blocks),
            new("gzip", TensorCompression.GZip, sample.Layout, _blocks),
        ];
        for (var block = 0; block < _blocks; block++)
            sample.Blocks[block % sample.Blocks.Count].CopyTo(Block(_source, block));
        foreach (var way in _ways)
            Encode(way);
    }

    /// <summary>Bytes of all blocks.</summary>
    public long Bytes => (long)_sample.Layout.BlockBytes * _blocks;

    private string Prefix => $"{_sample.Name}.{_sample.TypeName}";

    /// <summary>Name of the row of what order 0 allows.</summary>
    public string BoundName => $"{Prefix}.ratio.bound";

    /// <summary>Name of the row of what the codec stores.</summary>
    public string PlanesName => $"{Prefix}.ratio.planes";

    /// <summary>Bytes stored for each byte of KV, by every way of compressing, headers included, and what order 0 allows.</summary>
    public Dictionary<string, double> Ratios()
    {
        var ratios = _ways.ToDictionary(
            way => $"{Prefix}.ratio.{way.Name}", way => way.Lengths.Sum(length => (long)length) / (double)Bytes);
        ratios[BoundName] = Enumerable.Range(0, _blocks).Sum(block => PlaneEntropy.Bound(Block(_source, block), _sample.Layout)) / Bytes;
        return ratios;
    }

    /// <summary>A copy, encoders and decoders.</summary>
    public IEnumerable<IContender> Contenders()
    {
        yield return new RateContender($"{Prefix}.memcpy", [], Bytes, Copy);
        foreach (var way in _ways)
        {
            yield return new RateContender($"{Prefix}.encode.{way.Name}", Others(way, "encode"), Bytes, () => Encode(way));
            yield return new RateContender($"{Prefix}.decode.{way.Name}", Others(way, "decode"), Bytes, () => Decode(way));
        }
    }

    public void Dispose()
    {
        _source.Dispose();
        _target.Dispose();
        foreach (var way in _ways)
            way.Dispose();
    }

    private string[] Others(CompressedBlocks way, string phase) =>
        way == _ways[0] ? [$"{Prefix}.memcpy", .. _ways.Skip(1).Select(other => $"{Prefix}.{phase}.{other.Name}")] : [];

    private Span<byte> Block(WarmBuffer buffer, int block) =>
        buffer.Slice((long)block * _sample.Layout.BlockBytes, _sample.Layout.BlockBytes);

    private void Copy()
    {
        for (var block = 0; block < _blocks; block++)
            Block(_source, block).CopyTo(Block(_target, block));
    }

    private void Encode(CompressedBlocks way)
    {
        for (var block = 0; block < _blocks; block++)
            way.Lengths[block] =
                BatchTensorSerializer.Encode(
                Block(_source, block), _sample.Layout, way.Slot(block), new TensorEncoding(Compression: way.Compression));
    }

    private void Decode(CompressedBlocks way)
    {
        for (var block = 0; block < _blocks; block++)
            BatchTensorSerializer.Decode(
                way.Slot(block)[..way.Lengths[block]], _sample.Layout, _sample.Layout.AllLayers, Block(_target, block));
    }
}

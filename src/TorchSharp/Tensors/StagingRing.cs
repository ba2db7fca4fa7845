using KvCache.Caching;
using KvCache.Client.Scatter;
using KvCache.TorchSharp.Tensors;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>
/// Host buffers through which blocks go to a device and come from one: while one buffer is received from the cache, or sent to it, the
/// device copies another.
/// </summary>
/// <remarks>
/// <para>
/// With a CUDA device the buffers are pinned, so that the device copies by itself while this thread goes on. TorchSharp has neither streams
/// nor events: copies run in the device's current stream, in order with what is computed there, and a buffer is used again after
/// <c>torch.cuda.synchronize</c>, which waits for that too.
/// With any other device the buffers are ordinary memory and the calling thread copies, still while the next buffer is under way.
/// </para>
/// <para>A ring serves one call at a time; others wait for their turn. One ring for each layout and device is enough, and pinning is slow:
/// keep it.</para>
/// </remarks>
public sealed class StagingRing : IDisposable
{
    private readonly torch.Tensor[] _buffers;
    private readonly Memory<byte>[] _memory;
    private readonly CallTurn _turn;
    private readonly bool _isCuda;

    /// <summary>Allocates the buffers.</summary>
    /// <param name="layout">Layout of the blocks.</param>
    /// <param name="device">Where the tensors of loads and stores are.</param>
    /// <param name="blocks">Blocks of a buffer, at least 1. A load asks the cache for a buffer at a time: less than a few MiB makes it wait
    /// for round trips.</param>
    /// <param name="buffers">Number of buffers, at least 2. Default 2: one is filled while the other is emptied.</param>
    /// <exception cref="ArgumentException">The layout is opaque, or a buffer would have 2 GiB or more.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A number is too small.</exception>
    public StagingRing(KvLayout layout, torch.Device device, int blocks, int buffers = 2)
    {
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentNullException.ThrowIfNull(device);
        ArgumentOutOfRangeException.ThrowIfLessThan(blocks, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(buffers, 2);
        _ = KvCacheTensorExtensions.ShapeOf(layout, layout.AllLayers);
        if ((long)blocks * layout.BlockBytes > int.MaxValue)
            throw new ArgumentException(
                $"{blocks} blocks of {layout.BlockBytes:N0} bytes do not fit into a buffer, which has less than 2 GiB; use more buffers.",
                nameof(blocks));
        Layout = layout;
        Device = device;
        Blocks = blocks;
        _isCuda = device.type == DeviceType.CUDA;
        _buffers = [.. Enumerable.Range(0, buffers).Select(_ => Allocate())];
        _memory = Array.ConvertAll(_buffers, buffer => new TensorMemory(buffer).Memory);
        _turn = new CallTurn(this, Free);
    }

    /// <summary>Layout of the blocks.</summary>
    public KvLayout Layout { get; }

    /// <summary>Where the tensors of loads and stores are.</summary>
    public torch.Device Device { get; }

    /// <summary>Blocks of a buffer.</summary>
    public int Blocks { get; }

    /// <summary>Number of buffers.</summary>
    public int Buffers => _buffers.Length;

    /// <summary>Whether the device can copy the buffers by itself.</summary>
    public bool IsPinned => _isCuda;

    /// <summary>Frees the buffers, or lets a call that is using them do so at its end. Those that wait for their turn, and later ones,
    /// throw <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose() => _turn.Dispose();

    internal Task EnterAsync(CancellationToken cancellationToken) => _turn.EnterAsync(cancellationToken);

    internal void Leave() => _turn.Leave();

    /// <summary>Memory of a block in a buffer.</summary>
    internal Memory<byte> Memory(int buffer, int block, LayerRange range) =>
        _memory[buffer].Slice(block * Layout.RangeBytes(range), Layout.RangeBytes(range));

    /// <summary>Begins to copy a block of a buffer to a tensor of the device.</summary>
    internal void CopyTo(torch.Tensor destination, int buffer, int block, LayerRange range)
    {
        using var noGradient = torch.no_grad();
        using var host = View(buffer, block, range);
        destination.copy_(host, nonBlocking: _isCuda);
    }

    /// <summary>Begins to copy a tensor of the device to a block of a buffer.</summary>
    internal void CopyFrom(torch.Tensor source, int buffer, int block, LayerRange range)
    {
        using var noGradient = torch.no_grad();
        using var host = View(buffer, block, range);
        host.copy_(source, nonBlocking: _isCuda);
    }

    /// <summary>Waits for all copies that have begun.</summary>
    internal void AwaitCopies()
    {
        if (_isCuda)
            torch.cuda.synchronize(Device);
    }

    /// <summary>Checks that tensors are what a call with these layers copies.</summary>
    internal LayerRange Check(KvPrefix prefix, IReadOnlyList<torch.Tensor> tensors, LayerRange? layers, string parameter)
    {
        BlockArguments.CheckPrefix(prefix);
        ArgumentNullException.ThrowIfNull(tensors, parameter);
        if (!prefix.Namespace.Layout.Equals(Layout))
            throw new ArgumentException("The staging ring was made for another layout than the prefix has.", nameof(prefix));
        var range = BlockArguments.CheckLayers(Layout, layers);
        var (shape, type) = (KvCacheTensorExtensions.ShapeOf(Layout, range), KvCacheTensorExtensions.ScalarTypeOf(Layout.DataType));
        for (var i = 0; i < tensors.Count; i++)
        {
            var tensor = tensors[i] ?? throw new ArgumentException($"Tensor {i} is null.", parameter);
            if (tensor.dtype != type || !tensor.shape.AsSpan().SequenceEqual(shape))
                throw new ArgumentException(
                    $"Tensor {i} is {tensor.dtype} [{string.Join(", ", tensor.shape)}]; expected {type} [{string.Join(", ", shape)}].",
                    parameter);
            if (tensor.device_type != Device.type)
                throw new ArgumentException(
                    $"Tensor {i} is on {tensor.device_type}; the staging ring was made for {Device.type}.", parameter);
        }

        return range;
    }

    /// <summary>A block of a buffer as a tensor, which the caller disposes.</summary>
    internal torch.Tensor View(int buffer, int block, LayerRange range)
    {
        var elements = (long)Layout.RangeBytes(range) / Layout.DataType.Size();
        using var run = _buffers[buffer].narrow(0, block * elements, elements);
        return run.view(KvCacheTensorExtensions.ShapeOf(Layout, range));
    }

    private void Free()
    {
        foreach (var buffer in _buffers)
            buffer.Dispose();
    }

    private torch.Tensor Allocate()
    {
        var elements = (long)Blocks * Layout.BlockBytes / Layout.DataType.Size();
        var buffer = torch.empty([elements], KvCacheTensorExtensions.ScalarTypeOf(Layout.DataType)).DetachFromDisposeScope();
        if (!_isCuda)
            return buffer;
        using (buffer)
            return buffer.pin_memory().DetachFromDisposeScope();
    }
}

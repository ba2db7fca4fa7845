using System.Buffers;
using TorchSharp;

namespace KvCache.TorchSharp.Tensors;

/// <summary>The bytes of a contiguous CPU tensor as <see cref="Memory{T}"/>, without a copy.</summary>
/// <remarks>It keeps the tensor alive, but not from being disposed: dispose the tensor after the last use of the memory.</remarks>
internal sealed unsafe class TensorMemory : MemoryManager<byte>
{
    private readonly torch.Tensor _tensor;
    private readonly nint _address;
    private readonly int _length;

    public TensorMemory(torch.Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.device_type != DeviceType.CPU)
            throw new ArgumentException($"The tensor is on {tensor.device_type}; a CPU tensor was expected.", nameof(tensor));
        if (!tensor.is_contiguous())
            throw new ArgumentException("The tensor is not contiguous; call contiguous() first.", nameof(tensor));
        var bytes = tensor.bytes;
        _tensor = tensor;
        _length = bytes.Length;
        fixed (byte* first = bytes)
            _address = (nint)first;
    }

    public override Span<byte> GetSpan() => new((void*)_address, _length);

    public override MemoryHandle Pin(int elementIndex = 0) => new((void*)(_address + elementIndex));

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing) => GC.KeepAlive(_tensor);
}

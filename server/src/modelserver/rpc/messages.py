"""The protobuf message classes of TensorFlow Serving's API, configuration and tensors.

Ordinary message classes (`FromString`, `SerializeToString`, `text_format.Parse`, …) under their own
names. They are not the classes of tensorflow-serving-api or of TensorFlow, though the bytes are the
same. `messages.pyi`, generated, gives their fields to type checkers.
"""

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from modelserver.rpc.descriptors import descriptor_set, make_pool

_POOL = make_pool(descriptor_set())


def _message(full_name: str) -> type[Message]:
    return GetMessageClass(_POOL.FindMessageTypeByName(full_name))


# Tensors and signatures
TensorShapeProto = _message("tensorflow.TensorShapeProto")
TensorProto = _message("tensorflow.TensorProto")
TensorInfo = _message("tensorflow.TensorInfo")
SignatureDef = _message("tensorflow.SignatureDef")

# PredictionService
ModelSpec = _message("tensorflow.serving.ModelSpec")
PredictRequest = _message("tensorflow.serving.PredictRequest")
PredictResponse = _message("tensorflow.serving.PredictResponse")
SignatureDefMap = _message("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _message("tensorflow.serving.GetModelMetadataResponse")

# ModelService
StatusProto = _message("tensorflow.serving.StatusProto")
ModelVersionStatus = _message("tensorflow.serving.ModelVersionStatus")
GetModelStatusRequest = _message("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _message("tensorflow.serving.GetModelStatusResponse")
Metric = _message("tensorflow.serving.Metric")
ReloadConfigRequest = _message("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = _message("tensorflow.serving.ReloadConfigResponse")

# Configuration files
FileSystemStoragePathSourceConfig = _message("tensorflow.serving.FileSystemStoragePathSourceConfig")
SamplingConfig = _message("tensorflow.serving.SamplingConfig")
LogCollectorConfig = _message("tensorflow.serving.LogCollectorConfig")
LoggingConfig = _message("tensorflow.serving.LoggingConfig")
ModelConfig = _message("tensorflow.serving.ModelConfig")
ModelConfigList = _message("tensorflow.serving.ModelConfigList")
ModelServerConfig = _message("tensorflow.serving.ModelServerConfig")
BatchingParameters = _message("tensorflow.serving.BatchingParameters")
SSLConfig = _message("tensorflow.serving.SSLConfig")

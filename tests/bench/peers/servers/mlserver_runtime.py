"""A numpy model as a custom runtime of MLServer."""

import numpy_model
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class NumpyModel(MLModel):
    """Serves the file that the model's settings name as `uri`."""

    async def load(self):
        self._predict = numpy_model.load(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        rows = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        output = NumpyCodec.encode_output("y", self._predict(rows))
        return InferenceResponse(
            id=payload.id, model_name=self.name, model_version=self.version, outputs=[output]
        )
